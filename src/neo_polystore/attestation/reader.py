"""Reads bytes from front to back, and says where it stood when they ran out or were wrong."""

from __future__ import annotations

from neo_polystore.attestation.layout import Fields
from neo_polystore.errors import FieldProblem, ValidationError

Values = dict[str, int | bytes]


class Reader:
    """A view of some bytes; `what` names them in errors."""

    def __init__(self, data: bytes, what: str = "quote"):
        self._data = data
        self._what = what
        self._at = 0

    def take(self, size: int, name: str) -> bytes:
        """The next bytes; ValidationError where there are not so many."""
        left = len(self._data) - self._at
        if size > left:
            raise bad(
                self._what, f"{name} takes {size} bytes at offset {self._at}, {left} are left"
            )
        self._at += size
        return self._data[self._at - size : self._at]

    def number(self, size: int, name: str) -> int:
        """The next bytes as a little-endian number."""
        return int.from_bytes(self.take(size, name), "little")

    def fields(self, table: Fields) -> Values:
        """The next fields by name, without those that must be zero."""
        values: Values = {}
        for field in table:
            offset = self._at
            data = self.take(field.size, field.name)
            if field.kind == "zero":
                if any(data):
                    raise bad(self._what, f"{field.name} at offset {offset} must be zero")
            else:
                values[field.name] = (
                    int.from_bytes(data, "little") if field.kind == "number" else data
                )
        return values

    def end(self) -> None:
        """ValidationError where bytes are left."""
        if left := len(self._data) - self._at:
            raise bad(self._what, f"{left} bytes follow its end at offset {self._at}")


def bad(what: str, reason: str) -> ValidationError:
    """The error for bytes that are not what they should be."""
    return ValidationError([FieldProblem(what, reason)], operation="attestation")
