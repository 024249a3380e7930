"""Safe file names in answers (RFC 6266): none ends its header, none leads out of a folder."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

LONGEST: Final = 200
_UNSAFE: Final = re.compile(r'[\x00-\x1f\x7f-\x9f\u2028\u2029/\\:*?"<>|]+')


def attachment(name: str) -> dict[str, str]:
    """The header that lets a browser save the answer under `name`, as far as that is safe.

    Control characters and those that mean something to a file system become `_`, leading dots
    go; `filename` has what ASCII can show, `filename*` (RFC 8187) the whole.
    """
    safe = _UNSAFE.sub("_", name).strip(" .")[:LONGEST] or "download"
    plain = safe.encode("ascii", "replace").decode().replace("?", "_").replace("%", "_")
    whole = quote(safe.encode("utf-8", "replace"), safe="")
    return {"Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{whole}"}
