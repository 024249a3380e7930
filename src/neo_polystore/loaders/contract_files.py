"""Contract metadata from bare ABI arrays, Solidity metadata files and Hardhat artifacts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from neo_polystore.loaders.base import BadRecord, Item, LoadOptions, build
from neo_polystore.loaders.document_values import storable
from neo_polystore.loaders.json_text import document
from neo_polystore.loaders.source import Source
from neo_polystore.records.documents import document_models

NO_NETWORK = "any"
"""The network of what was loaded without one: an ABI by itself is bound to no chain."""


def abi(source: Source, options: LoadOptions) -> Iterator[Item]:
    """A bare ABI array; its name is that of the file."""
    content = document(source)
    name = source.path.name.removesuffix(".gz").removesuffix(".json")
    yield _metadata(content, {"name": name, "format": "abi"}, options, "record")


def solidity_metadata(source: Source, options: LoadOptions) -> Iterator[Item]:
    """A `metadata.json` (https://docs.soliditylang.org/en/latest/metadata.html)."""
    yield _with_content(document(source), _solidity, options)


def hardhat(source: Source, options: LoadOptions) -> Iterator[Item]:
    """A Hardhat artifact (`hh-sol-artifact-1`), or another tool's with the same names."""
    yield _with_content(document(source), _artifact, options)


def address_of(contract_abi: Any) -> str:
    """What stands for the address of a contract without one: `abi:` and 16 hexadecimal digits.

    They begin the SHA-256 of the ABI's canonical JSON: UTF-8, names sorted, no white space.
    """
    text = json.dumps(contract_abi, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"abi:{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _with_content(
    content: Any,
    read: Callable[[Mapping[str, Any]], tuple[Any, dict[str, Any], str]],
    options: LoadOptions,
) -> Item:
    if not isinstance(content, dict):
        return BadRecord(1, "record", "expected a JSON object")
    found, fields, place = read(content)
    return _metadata(found, fields, options, place)


def _metadata(contract_abi: Any, fields: dict[str, Any], options: LoadOptions, place: str) -> Item:
    """One document; `place` is where the file has its ABI."""
    if not isinstance(contract_abi, list):
        return BadRecord(1, place, "missing" if contract_abi is None else "expected a JSON array")
    for index, entry in enumerate(contract_abi):
        if not isinstance(entry, dict) or not isinstance(entry.get("type", "function"), str):
            return BadRecord(
                1, f"{place}.{index}", "expected an object that describes an ABI entry"
            )
    data = {
        "network": options.network or NO_NETWORK,
        "address": options.address or address_of(contract_abi),
        "abi": storable(contract_abi),
        **{name: storable(value) for name, value in fields.items()},
    }
    model = document_models()["contract_metadata"]
    return build(model, {k: v for k, v in data.items() if v not in (None, {}, "")}, 1)


def _solidity(content: Mapping[str, Any]) -> tuple[Any, dict[str, Any], str]:
    output, settings = _part(content, "output"), _part(content, "settings")
    target = next(iter(_part(settings, "compilationTarget").items()), (None, None))
    sources = _part(content, "sources")
    texts = [s["content"] for s in sources.values() if isinstance(s, dict) and "content" in s]
    documentation = {k: output[k] for k in ("devdoc", "userdoc") if isinstance(output.get(k), dict)}
    fields = {
        "name": target[1],
        "source_name": target[0],
        "source_code": texts[0] if len(texts) == 1 == len(sources) else None,
        "documentation": documentation,
        "compiler_version": _part(content, "compiler").get("version"),
        "language": content.get("language"),
        "settings": settings,
        "sources": sources,
        "format": "solidity-metadata",
    }
    return output.get("abi"), fields, "output.abi"


def _artifact(content: Mapping[str, Any]) -> tuple[Any, dict[str, Any], str]:
    fields = {
        "name": content.get("contractName"),
        "source_name": content.get("sourceName"),
        "bytecode": content.get("bytecode"),
        "deployed_bytecode": content.get("deployedBytecode"),
        "link_references": content.get("linkReferences"),
        "deployed_link_references": content.get("deployedLinkReferences"),
        "format": content.get("_format", "hardhat"),
    }
    return content.get("abi"), fields, "abi"


def _part(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = content.get(name)
    return value if isinstance(value, dict) else {}
