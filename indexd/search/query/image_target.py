"""Names one image by id, by content hash, or by path."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import quote_from_bytes, unquote_to_bytes

from indexd.errors import UsageError
from indexd.fs.paths import display, is_url

_HASH = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class ImageTarget:
    """Exactly one of the three fields is set. `path` is absolute."""

    image_id: int | None = None
    content_hash: bytes | None = None
    path: bytes | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return display(self.path)
        return f"#{self.image_id}" if self.content_hash is None else self.content_hash.hex()


def target_of_path(path: str | os.PathLike[str]) -> ImageTarget:
    """The target of a file on the command line. `..` is resolved, symbolic links are not."""
    return ImageTarget(path=os.fsencode(os.path.abspath(path)))


def parse_target_argument(text: str) -> ImageTarget:
    """Parse a command-line argument: an existing file, `#12` or `12` as id, 64 hex digits as hash, else a path.

    Raises UsageError for a URL.
    """
    if os.path.lexists(text):
        return target_of_path(text)
    digits = text.removeprefix("#")
    if digits.isascii() and digits.isdigit() and len(digits) < 19:
        return ImageTarget(image_id=int(digits))
    if _HASH.fullmatch(text):
        return ImageTarget(content_hash=bytes.fromhex(text))
    if is_url(text):
        raise UsageError(f"{text[:200]!r} is a URL, and indexd downloads nothing; save the image and name the file")
    return target_of_path(text)


def format_target(target: ImageTarget) -> str:
    """The target as text for the HTTP API: `id:`, `hash:` or `path:` (percent-encoded)."""
    if target.image_id is not None:
        return f"id:{target.image_id}"
    if target.content_hash is not None:
        return f"hash:{target.content_hash.hex()}"
    assert target.path is not None
    return f"path:{quote_from_bytes(target.path, safe='/')}"


def parse_target(text: str) -> ImageTarget:
    """Parse the text from `format_target`. Raises UsageError."""
    form, _, value = text.partition(":")
    if form == "id" and value.isascii() and value.isdigit() and len(value) < 19:
        return ImageTarget(image_id=int(value))
    if form == "hash" and _HASH.fullmatch(value):
        return ImageTarget(content_hash=bytes.fromhex(value))
    if form == "path":
        path = unquote_to_bytes(value)
        if os.path.isabs(path) and b"\0" not in path:
            return ImageTarget(path=path)
    raise UsageError(f"{text[:200]!r} names no image; write id:12, hash:<64 hex digits> or path:<absolute path>")
