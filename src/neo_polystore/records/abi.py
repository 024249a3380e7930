"""What a contract's ABI says, as fields that can be searched: signatures, selectors, topics.

The JSON form is that of the Solidity compiler, which others have taken over:
https://docs.soliditylang.org/en/latest/abi-spec.html#json
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from neo_polystore.errors import FieldProblem, ValidationError

MEMBERS = ("function", "event", "error")
NAMELESS = ("constructor", "fallback", "receive")
MAX_NESTING = 32
"""How deep tuples may be nested; the check of the whole document comes after this."""

_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_TUPLE = re.compile(r"tuple((?:\[\d*\])*)")
# libraries name their own types: `EnumerableSet.Set storage`
_TYPE = re.compile(r"[A-Za-z_$][A-Za-z0-9_$.]*(?:\[\d*\])*(?: storage)?")
_SHORT = {"uint": "uint256", "int": "int256", "fixed": "fixed128x18", "ufixed": "ufixed128x18"}
_HEAD = re.compile(r"^[a-z]+(?![A-Za-z0-9_$.])")


def abi_fields(body: dict[str, Any]) -> dict[str, list[str]]:
    """The fields that a document's `abi` implies; {} where it has none.

    `functions`, `events` and `errors` are signatures in the order of the ABI, `members` their bare
    names, `selectors` the first four bytes of the functions' hashes, `topics` the hashes of events.
    An anonymous event has no topic; constructors, `fallback` and `receive` have no signature. An
    entry without `type` is a function. Overloads have a signature each. Raises ValidationError
    with the path of an entry that is no entry.
    """
    abi = body.get("abi")
    if not isinstance(abi, list):
        return {}
    found: dict[str, dict[str, None]] = {
        name: {} for name in ("functions", "events", "errors", "members", "selectors", "topics")
    }
    for number, entry in enumerate(abi):
        path = f"abi.{number}"
        kind = _kind(entry, path)
        if kind in NAMELESS:
            continue
        signature = _signature(entry, path)
        found[f"{kind}s"][signature] = None
        found["members"][entry["name"]] = None
        if kind == "function":
            found["selectors"][selector(signature)] = None
        elif kind == "event" and entry.get("anonymous") is not True:
            found["topics"][topic(signature)] = None
    return {name: list(values) for name, values in found.items()}


@lru_cache(maxsize=4096)
def topic(signature: str) -> str:
    """Keccak-256 of a signature, as `0x` and 64 digits: what a log of this event begins with."""
    from Crypto.Hash import keccak  # its cffi takes as long to import as all else here

    return "0x" + keccak.new(digest_bits=256, data=signature.encode()).hexdigest()


def selector(signature: str) -> str:
    """What a call of this function begins with: `0x` and 8 digits."""
    return topic(signature)[:10]


def _kind(entry: Any, path: str) -> str:
    if not isinstance(entry, dict):
        raise _refused(path, f"expected an object, got {type(entry).__name__}")
    kind = entry.get("type", "function")
    if kind not in MEMBERS and kind not in NAMELESS:
        known = ", ".join((*MEMBERS, *NAMELESS))
        raise _refused(f"{path}.type", f"expected one of {known}, got {str(kind)[:60]!r}")
    return str(kind)


def _signature(entry: dict[str, Any], path: str) -> str:
    name = entry.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _refused(f"{path}.name", f"expected an identifier, got {str(name)[:60]!r}")
    return f"{name}({','.join(_types(entry.get('inputs', []), f'{path}.inputs', 0))})"


def _types(parameters: Any, path: str, depth: int) -> Iterator[str]:
    """The canonical types of parameters or of a tuple's components."""
    if not isinstance(parameters, list):
        raise _refused(path, f"expected an array, got {type(parameters).__name__}")
    if depth > MAX_NESTING:
        raise _refused(path, f"tuples nested deeper than {MAX_NESTING} levels")
    for number, parameter in enumerate(parameters):
        place = f"{path}.{number}"
        written = parameter.get("type") if isinstance(parameter, dict) else None
        if not isinstance(written, str):
            raise _refused(f"{place}.type", "expected the name of a type")
        if match := _TUPLE.fullmatch(written):
            components = parameter.get("components")
            yield f"({','.join(_types(components, f'{place}.components', depth + 1))}){match[1]}"
        elif _TYPE.fullmatch(written):
            yield _HEAD.sub(lambda head: _SHORT.get(head[0], head[0]), written, count=1)
        else:
            raise _refused(f"{place}.type", f"expected the name of a type, got {written[:60]!r}")


def _refused(path: str, reason: str) -> ValidationError:
    return ValidationError([FieldProblem(path, reason)])
