"""Keys of 32 bytes as people write them: base64 or hexadecimal."""

from __future__ import annotations

import base64
import binascii

from neo_polystore.errors import ConfigError

SIZE = 32


def key_of_text(text: str, *, name: str) -> bytes:
    """The 32 bytes that `text` writes; ConfigError (without the text) where it writes no such."""
    text = text.strip()
    for read in (bytes.fromhex, lambda value: base64.b64decode(value, validate=True)):
        try:
            material: bytes = read(text)
        except (ValueError, binascii.Error):
            continue
        if len(material) == SIZE:
            return material
    raise ConfigError(f"{name} must be {SIZE} bytes in base64 or hexadecimal")
