"""Networks from ethereum-lists chain files (https://github.com/ethereum-lists/chains)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from neo_polystore.loaders.base import BadRecord, Item, LoadOptions, build
from neo_polystore.loaders.json_stream import elements
from neo_polystore.loaders.json_text import Element, an_object, document
from neo_polystore.loaders.source import Source
from neo_polystore.records.networks import Network

TESTNET_COIN = 1
"""SLIP-44 coin type 1: "Testnet (all coins)"."""

_TESTNET = re.compile(
    r"test|\bdev(net)?\b|goerli|görli|sepolia|holesky|hoodi|ropsten|rinkeby|kovan|mumbai|amoy|fuji",
    re.IGNORECASE,
)
_NAMES = {"chain_id": "chainId", "rpc_endpoint": "rpc", "ws_endpoint": "rpc"}
_NAMES["explorer_url"] = "explorers"


def chains(source: Source, options: LoadOptions) -> Iterator[Item]:
    """One chain per file (`eip155-1.json`), or an array of them (`chains.json`)."""
    if source.head().lstrip().startswith(b"["):
        for element in elements(source):
            yield _network(element)
    else:
        yield _network(Element(1, "", "", document(source)))


def _network(found: Element | BadRecord) -> Item:
    element = found if isinstance(found, BadRecord) else an_object(found)
    if isinstance(element, BadRecord):
        return element
    chain: Mapping[str, Any] = element.value
    if missing := [name for name in ("chainId", "name", "rpc") if chain.get(name) is None]:
        return BadRecord(element.number, missing[0], f"missing: {', '.join(missing)}")
    urls = _urls(chain["rpc"])
    http = next((url for url in urls if url.startswith(("https://", "http://"))), None)
    if http is None:
        return BadRecord(element.number, "rpc", "no http or https endpoint among them")
    data = {
        "chain_id": chain["chainId"],
        "name": chain["name"],
        "rpc_endpoint": http,
        "ws_endpoint": next((url for url in urls if url.startswith(("wss://", "ws://"))), None),
        "explorer_url": next(iter(_urls(chain.get("explorers"))), None),
        "is_testnet": is_testnet(chain),
        "is_active": chain.get("status") != "deprecated",
    }
    return build(Network, data, element.number, _NAMES)


def is_testnet(chain: Mapping[str, Any]) -> bool:
    """Whether coin type, name or title say so. A faucet does not: some mainnets have one."""
    titles = f"{chain.get('name')} {chain.get('title', '')}"
    return chain.get("slip44") == TESTNET_COIN or _TESTNET.search(titles) is not None


def _urls(value: Any) -> list[str]:
    """The URLs of a list of texts or of objects with a `url`."""
    items = value if isinstance(value, list) else []
    found = (item.get("url") if isinstance(item, dict) else item for item in items)
    return [url for url in found if isinstance(url, str)]
