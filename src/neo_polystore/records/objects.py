"""Objects: named bytes in a bucket."""

from __future__ import annotations

import hashlib
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints, field_validator

from neo_polystore.records.base import Blob, Record, Text, Utc

BucketName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9]$")]


class StoredObject(Record):
    """`sha256` and `size` describe `content`; the store fills them and `modified` when reading.

    Listings carry no `content`; a write without one is rejected.
    """

    data_type: ClassVar[str] = "objects"
    time_field: ClassVar[str | None] = "modified"

    bucket: BucketName
    name: Annotated[Text, StringConstraints(min_length=1, max_length=1024)]
    content: Blob | None = Field(default=None, repr=False)
    content_type: Text = "application/octet-stream"
    size: int | None = None
    sha256: str | None = None
    modified: Utc | None = None

    @field_validator("name")
    @classmethod
    def _stays_inside(cls, name: str) -> str:
        if name.startswith("/") or any(part in ("", ".", "..") for part in name.split("/")):
            raise ValueError("expected a relative path without empty, '.' or '..' parts")
        return name

    @property
    def key(self) -> str:
        """`{bucket}/{name}`."""
        return f"{self.bucket}/{self.name}"

    def digest(self) -> str:
        """The SHA-256 of the content, in hexadecimal."""
        return hashlib.sha256(self.content or b"").hexdigest()
