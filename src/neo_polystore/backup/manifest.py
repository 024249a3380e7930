"""What one run of a backup holds, as a file that is read with suspicion.

The file is `{"format": 1, "sha256": ..., "signature": ..., "run": {...}}`. The digest is over the
canonical JSON of `run`; where the run is encrypted it is signed with the key as well, so that a
manifest can be neither edited by hand nor forged.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from pydantic import ValidationError as PydanticError

from neo_polystore.backup.keys import BackupKey
from neo_polystore.errors import BackupError, ConfigError, IntegrityError, UsageError
from neo_polystore.records.base import problems_of

FORMAT = 1
NAME = "manifest.json"
LARGEST = 256 << 20
"""Bytes of the largest manifest that is read: about half a million parts."""

_RUN = re.compile(r"\d{8}T\d{6}-[0-9a-f]{8}")
_SAFE = r"^[A-Za-z0-9_][A-Za-z0-9_.%-]{0,199}$"

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
SafeName = Annotated[str, Field(pattern=_SAFE)]
Count = Annotated[int, Field(ge=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Part(_Strict):
    """One stored file. `name` is relative to the run."""

    name: str
    content_bytes: Count
    content_sha256: Digest
    stored_bytes: Count
    stored_sha256: Digest


class SavedStream(_Strict):
    """A stream, cut into parts of `part_bytes` (of the run) in order, the last one shorter."""

    name: SafeName
    rows: Count | None = None
    exact: bool = True
    parts: tuple[Part, ...]

    @property
    def content_bytes(self) -> int:
        """Bytes before compression."""
        return sum(part.content_bytes for part in self.parts)

    @property
    def stored_bytes(self) -> int:
        """Bytes in the target."""
        return sum(part.stored_bytes for part in self.parts)


class SavedStore(_Strict):
    """One store: its streams, or in `not_saved` why it has none, or in `within` which store has it.

    `data_types` are those that the routing table gave it.
    """

    name: SafeName
    data_types: tuple[str, ...] = ()
    place: str = ""
    not_saved: str | None = None
    within: SafeName | None = None
    snapshot_at: AwareDatetime | None = None
    positions: dict[str, Any] = {}
    before: dict[str, Any] = {}
    excluded: dict[str, str] = {}
    streams: tuple[SavedStream, ...] = ()

    @property
    def rows(self) -> int:
        """Rows of all streams."""
        return sum(stream.rows or 0 for stream in self.streams)

    @property
    def stored_bytes(self) -> int:
        """Bytes in the target."""
        return sum(stream.stored_bytes for stream in self.streams)


class Manifest(_Strict):
    """A whole run. Times are UTC."""

    id: str
    started: AwareDatetime
    finished: AwareDatetime
    versions: dict[str, str]
    profile: str
    scope: dict[str, str | None]
    part_bytes: Annotated[int, Field(ge=1 << 10, le=1 << 30)]
    compression: Literal["zstd"] = "zstd"
    key_id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")] | None = None
    stores: tuple[SavedStore, ...]

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        if not _RUN.fullmatch(self.id):
            raise ValueError(f"id: {self.id!r} is no run")
        if self.finished < self.started:
            raise ValueError("finished: lies before started")
        names: set[str] = set()
        stores = {store.name for store in self.stores}
        if len(stores) != len(self.stores):
            raise ValueError("stores: a store is named twice")
        for store in self.stores:
            if store.within is not None and store.within not in stores - {store.name}:
                raise ValueError(f"stores: {store.name} lies within {store.within!r}, an unknown")
            streams = {stream.name for stream in store.streams}
            if len(streams) != len(store.streams):
                raise ValueError(f"stores: {store.name} has a stream twice")
            for stream in store.streams:
                self._check(store, stream, names)
        return self

    def _check(self, store: SavedStore, stream: SavedStream, names: set[str]) -> None:
        for number, part in enumerate(stream.parts):
            where = f"{store.name}/{stream.name}, part {number}"
            expected = part_name(
                store.name, stream.name, number, part.stored_sha256, encrypted=bool(self.key_id)
            )
            if part.name != expected or part.name in names:
                raise ValueError(f"{where}: its name is {part.name!r}, which fits neither its"
                                 " place nor its digest")  # fmt: skip
            names.add(part.name)
            full = number + 1 < len(stream.parts)
            if part.content_bytes > self.part_bytes or (
                full and part.content_bytes != self.part_bytes
            ):
                raise ValueError(f"{where}: {part.content_bytes} bytes is no size for it")

    @property
    def folder(self) -> str:
        """Where the run lies in the target, with a `/` at the end."""
        return folder_of(self.id)

    def store(self, name: str) -> SavedStore:
        """One store; UsageError where the run knows nothing of it."""
        for store in self.stores:
            if store.name == name:
                return store
        known = ", ".join(store.name for store in self.stores)
        raise UsageError(f"run {self.id} has no store {name!r}; it has {known}")


def run_id(now: datetime, random: str) -> str:
    """The id of a run that starts now (UTC).

    Ids sort by time, also those of one second: five of the last eight digits are microseconds,
    three are random (`random`), so that two processes that start at once have runs of their own.
    """
    return f"{now:%Y%m%dT%H%M%S}-{now.microsecond:05x}{random}"


def is_run_id(text: str) -> bool:
    """Whether a text could be the id of a run."""
    return _RUN.fullmatch(text) is not None


def folder_of(run: str) -> str:
    """`YYYYMMDD/<run>/`; BackupError for what is no run's id."""
    if not is_run_id(run):
        raise BackupError(f"{run!r} is no run: one looks like 20260131T020000-0123abcd")
    return f"{run[:8]}/{run}/"


def part_name(store: str, stream: str, number: int, sha256: str, *, encrypted: bool) -> str:
    """A part's name below the run: it tells its place and the first half of its digest."""
    return f"{store}/{stream}.{number:06d}.{sha256[:32]}.zst{'.enc' if encrypted else ''}"


def place_of(run: str, store: str, stream: str, number: int) -> str:
    """What the key of an encrypted part is derived from."""
    return f"{run}/{store}/{stream}/{number}"


def dump(manifest: Manifest, key: BackupKey | None) -> bytes:
    """The file."""
    run = manifest.model_dump(mode="json")
    text = _canonical(run)
    envelope = {
        "format": FORMAT,
        "sha256": hashlib.sha256(text).hexdigest(),
        "signature": key.sign(text) if key is not None else None,
        "run": run,
    }
    return orjson.dumps(envelope, option=orjson.OPT_INDENT_2) + b"\n"


def load(data: bytes, *, run: str, key: BackupKey | None) -> Manifest:
    """Read the file of a run.

    Raises BackupError for another format, IntegrityError where it is not as it was written, and
    ConfigError where its signature cannot be checked for want of the key.
    """
    where = f"manifest of {run}"
    try:
        envelope = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise IntegrityError(f"{where}: no JSON: {error}") from None
    if not isinstance(envelope, dict) or not isinstance(envelope.get("format"), int):
        raise IntegrityError(f"{where}: says nothing of its format")
    if envelope["format"] != FORMAT:
        raise BackupError(
            f"{where}: is of format {envelope['format']}, this version reads {FORMAT}:"
            " use the version of neo-polystore that wrote it"
        )
    if set(envelope) != {"format", "sha256", "signature", "run"}:
        raise IntegrityError(f"{where}: is not laid out as one")
    text = _canonical(envelope["run"])
    if hashlib.sha256(text).hexdigest() != envelope["sha256"]:
        raise IntegrityError(f"{where}: was changed after it was written")
    try:
        found = Manifest.model_validate_json(text)
    except PydanticError as error:
        reasons = "; ".join(f"{p.field}: {p.reason}" for p in problems_of(error)[:3])
        raise IntegrityError(f"{where}: {reasons}") from None
    if found.id != run:
        raise IntegrityError(f"{where}: belongs to run {found.id}")
    _check_signature(found, text, envelope["signature"], key)
    return found


def _check_signature(
    manifest: Manifest, text: bytes, signature: object, key: BackupKey | None
) -> None:
    if manifest.key_id is None:
        return
    if key is None or key.id != manifest.key_id:
        raise ConfigError(
            f"run {manifest.id} is encrypted under key {manifest.key_id}:"
            " NEO_BACKUP_KEY is " + ("not set" if key is None else f"{key.id}, another")
        )
    if not hmac.compare_digest(key.sign(text), str(signature)):
        raise IntegrityError(f"manifest of {manifest.id}: the signature does not fit")


def _canonical(run: object) -> bytes:
    return orjson.dumps(run, option=orjson.OPT_SORT_KEYS)
