"""Which S3 service, with whose credentials, and how uploads are cut."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

Seconds = Annotated[float, Field(gt=0)]


class S3Config(BaseModel):
    """Without `endpoint_url` AWS itself; without `access_key_id` boto3's own credential chain.

    `path_style` puts the bucket into the path instead of the host name; by default where an
    endpoint is given. `bucket_prefix` is put before the name of every bucket. `create_buckets`
    makes a bucket that is missing at the first write to it. `checksums` is "when_required" for
    services that do not know the newer checksum headers.

    Content of up to `part_size` bytes is sent in one request and kept in memory; more goes
    through a file in `spool_directory` (by default the system's) and is sent in parts,
    `parallel_parts` at a time. Listings are read `page_size` objects at a time. At most
    `max_connections` requests run at once.
    """

    model_config = ConfigDict(frozen=True)

    endpoint_url: str | None = None
    region: str = "us-east-1"
    access_key_id: str | None = None
    secret_access_key: SecretStr = SecretStr("")
    session_token: SecretStr = SecretStr("")
    path_style: bool | None = None
    bucket_prefix: str = ""
    create_buckets: bool = False
    checksums: Literal["when_supported", "when_required"] = "when_supported"
    part_size: Annotated[int, Field(ge=5 << 20)] = 8 << 20
    parallel_parts: Annotated[int, Field(ge=1)] = 4
    page_size: Annotated[int, Field(ge=1, le=1000)] = 1000
    max_connections: Annotated[int, Field(ge=1)] = 16
    connect_timeout: Seconds = 5.0
    read_timeout: Seconds = 60.0
    attempts: Annotated[int, Field(ge=1)] = 3
    spool_directory: Path | None = None
