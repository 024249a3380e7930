"""Records as Parquet, and back: typed columns to query by, and the whole record as JSON.

pyarrow is imported when a file is written or read: that takes 0.3 seconds, and only archives
need it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from importlib.util import find_spec
from typing import IO, Any

from neo_polystore.errors import ConfigError
from neo_polystore.records.base import Record

_BATCH = 1_000
_PYTHON: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (float, int),
    "boolean": (bool,),
    "date-time": (datetime,),
}


def require() -> None:
    """Raise ConfigError where pyarrow is not installed."""
    if find_spec("pyarrow") is None:
        raise ConfigError(
            "archives need the package 'pyarrow': pip install 'neo-polystore[archive]'"
        )


class Writer:
    """Writes records of one model to a file; blocks.

    The columns: `key`, every field that holds one text, number, truth value or time (texts are
    what the record's JSON has: exact amounts are digits), and `record`. A value of another type,
    from before its field was declared, is in `record` alone.
    """

    def __init__(self, file: IO[bytes], model: type[Record]):
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._kinds = _kinds(model)
        types = {
            "string": pa.string(),
            "integer": pa.int64(),
            "number": pa.float64(),
            "boolean": pa.bool_(),
            "date-time": pa.timestamp("us", tz="UTC"),
        }
        columns = [("key", pa.string())]
        columns += [(name, types[kind]) for name, kind in self._kinds.items()]
        self._schema = pa.schema([*columns, ("record", pa.string())])
        self._table = pa.Table
        self._writer = pq.ParquetWriter(file, self._schema, compression="zstd")

    def write(self, records: Sequence[Record]) -> None:
        """Add records, as row groups."""
        rows = [self._row(record) for record in records]
        self._writer.write_table(self._table.from_pylist(rows, schema=self._schema))

    def close(self) -> None:
        """Write the footer; the file stays open."""
        self._writer.close()

    def _row(self, record: Record) -> dict[str, Any]:
        plain = record.model_dump(mode="json", include=set(self._kinds))
        row: dict[str, Any] = {"key": record.key}
        for name, kind in self._kinds.items():
            value = getattr(record, name) if kind == "date-time" else plain.get(name)
            row[name] = value if _fits(value, kind) else None
        row["record"] = record.model_dump_json(by_alias=True)
        return row


def texts(file: IO[bytes]) -> Iterator[list[str]]:
    """The records of a file as JSON, some at a time; blocks."""
    import pyarrow.parquet as pq

    file.seek(0)
    for batch in pq.ParquetFile(file).iter_batches(_BATCH, columns=["record"]):
        yield batch.column(0).to_pylist()


def _fits(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return False
    return isinstance(value, _PYTHON[kind])


@lru_cache
def _kinds(model: type[Record]) -> dict[str, str]:
    """The scalar fields of a model and what their JSON is."""
    properties = model.model_json_schema(mode="serialization", by_alias=False)["properties"]
    found = {}
    for name, schema in properties.items():
        options = [o for o in schema.get("anyOf", [schema]) if o.get("type") != "null"]
        if len(options) == 1 and name not in ("key", "record"):
            kind = options[0].get("format") or options[0].get("type")
            kind = kind if kind in _PYTHON else options[0].get("type")
            if kind in _PYTHON:
                found[name] = kind
    return found
