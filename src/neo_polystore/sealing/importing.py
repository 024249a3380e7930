"""Takes over sealed files from a directory or a tar archive: blobs that were sealed elsewhere."""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from neo_polystore.errors import IntegrityError, UsageError, ValidationError
from neo_polystore.ports.sealed import Blobs
from neo_polystore.records.sealed import EnclaveBlob

B = TypeVar("B", bound=EnclaveBlob)

SUMS: Final = "SHA256SUMS"
"""A file of this name, as `sha256sum` writes it, says what the others must be."""

MAC: Final = ".mac"
"""`<name>.mac` holds the MAC of `<name>`; a file without has its SHA-256 in place of it."""

AT_ONCE: Final = 16 << 20

_SUM = re.compile(r"([0-9a-fA-F]{64})[ \t]+\*?(.+)")


@dataclass
class Imported:
    """What became of the files; `rejected` are those that are not as they should be, and why."""

    files: int = 0
    bytes: int = 0
    new: int = 0
    existing: int = 0
    replaced: int = 0
    rejected: dict[str, str] = field(default_factory=dict)
    dry_run: bool = False


async def import_files(
    source: Path,
    port: Blobs[B],
    *,
    common: Mapping[str, object],
    largest: int,
    dry_run: bool = False,
) -> Imported:
    """Store every file under its path as data key, byte for byte, and read it back to compare.

    `common` are the fields of the record that all of them share: enclave, policy, owner.
    What is stored already counts as existing, so a run that was interrupted is completed by the
    next. UsageError for a source that is neither directory nor tar archive.
    """
    sums, macs = _beside(source)
    done = Imported(dry_run=dry_run)
    batch: list[B] = []
    for name, data in _files(source, largest=largest, done=done, beside=False):
        done.files += 1
        done.bytes += len(data)
        digest = hashlib.sha256(data).hexdigest()
        if sums and sums.get(name) != digest:
            why = "its SHA-256 is another" if name in sums else "it is not listed"
            done.rejected[name] = f"{SUMS}: {why}"
            continue
        own = {"data_key": name, "mac": macs.get(name, digest), "blob": data}
        try:
            batch.append(port.record.parse({**common, **own}))
        except ValidationError as error:
            done.rejected[name] = error.message
        if sum(len(one.blob) for one in batch) >= AT_ONCE:
            await _store(port, batch, done)
            batch = []
    for name in sums.keys() - {*_names(source)}:
        done.rejected[name] = f"{SUMS}: there is no such file"
    await _store(port, batch, done)
    return done


async def _store(port: Blobs[B], batch: list[B], done: Imported) -> None:
    if done.dry_run or not batch:
        return
    written = await port.write(batch)
    done.new += written.new
    done.existing += written.existing
    done.replaced += written.replaced
    for rejection in written.rejected:
        done.rejected[batch[rejection.index].data_key] = f"{rejection.field}: {rejection.reason}"
    refused = {rejection.index for rejection in written.rejected}
    for place, blob in enumerate(batch):
        if place not in refused and (await port.get(blob.key)).blob != blob.blob:
            raise IntegrityError(f"{blob.data_key!r} was read back as something else")


def _files(
    source: Path, *, largest: int, done: Imported, beside: bool
) -> Iterator[tuple[str, bytes]]:
    """Path and content of each regular file; links and devices are rejected, never followed.

    With `beside` those that say something of the others, without it the others.
    """
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            name = path.relative_to(source).as_posix()
            if path.is_symlink():
                done.rejected[name] = "a link"
            elif path.is_file() and _is_beside(name) == beside:
                if path.stat().st_size > largest:
                    done.rejected[name] = f"over {largest:,} bytes (NEO_SEALED_MAX_BYTES)"
                else:
                    yield name, path.read_bytes()
        return
    with _archive(source) as archive:
        for member in archive:
            name = _name(member)
            if member.isdir() or _is_beside(name) != beside:
                continue
            if not member.isreg() or ".." in Path(name).parts:
                done.rejected[name] = "no regular file inside the archive"
            elif member.size > largest:
                done.rejected[name] = f"over {largest:,} bytes (NEO_SEALED_MAX_BYTES)"
            elif (content := archive.extractfile(member)) is not None:
                yield name, content.read()


def _is_beside(name: str) -> bool:
    return name == SUMS or name.endswith(MAC)


def _names(source: Path) -> Iterator[str]:
    if source.is_dir():
        yield from (p.relative_to(source).as_posix() for p in source.rglob("*") if p.is_file())
    else:
        with _archive(source) as archive:
            yield from (_name(member) for member in archive if member.isreg())


def _beside(source: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The checksums of SHA256SUMS, and the MACs, each by the file that they are about."""
    sums: dict[str, str] = {}
    macs: dict[str, str] = {}
    for name, data in _files(source, largest=1 << 24, done=Imported(), beside=True):
        if name == SUMS:
            for line in data.decode(errors="replace").splitlines():
                if (match := _SUM.fullmatch(line)) is None:
                    raise UsageError(f"{SUMS}: not a line of sha256sum: {line[:80]!r}")
                sums[match[2].removeprefix("./")] = match[1].lower()
        else:
            macs[name.removesuffix(MAC)] = data.decode(errors="replace").strip().lower()
    return sums, macs


def _archive(source: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(source)
    except (OSError, tarfile.TarError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no tar archive"
        raise UsageError(f"{source}: {reason}: expected a directory or a tar archive") from None


def _name(member: tarfile.TarInfo) -> str:
    return member.name.removeprefix("./")
