"""What a file is by its first and last bytes: model formats, and what lies in model folders by mistake."""

from __future__ import annotations

import os
from typing import BinaryIO

from indexd.model_headers.description import FileFormat

_START_BYTES = 512
# Eight characters of text are a larger number.
_HEADER_BYTES_END = 1 << 32
# The record at the end of a ZIP archive has 22 bytes and a comment of at most 65 535 (APPNOTE.TXT, section 4.3.16).
_ZIP_END_BYTES = 22 + 65_535
_WEB_PAGES = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<body")
_LFS_POINTER = b"version https://git-lfs"


def detect_format(file: BinaryIO, size: int) -> tuple[FileFormat, str]:
    """The format, and what is wrong with the file as a predicate ("" = nothing). Leaves `file` at its start."""
    start = file.read(_START_BYTES)
    found = _detect(file, size, start)
    file.seek(0)
    return found


def _detect(file: BinaryIO, size: int, start: bytes) -> tuple[FileFormat, str]:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if size == 0:
        return "unknown", "is empty (0 bytes); download it again"
    if not start.strip(b"\0"):
        return "unknown", "begins with zero bytes: its download or copy was not finished; download it again"
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < _HEADER_BYTES_END:
        return "safetensors", ""
    if text.startswith(_WEB_PAGES):
        return "unknown", "is a web page, not a model: its download needed a login or led elsewhere; download it again"
    if text.startswith(_LFS_POINTER):
        return "unknown", "is a Git LFS pointer, not the model; run `git lfs pull` in its folder"
    if text.startswith((b"{", b"error", b"not found", b"access", b"unauthor", b"forbidden", b"invalid")):
        return "unknown", "is a text (probably the error message of a download), not a model; download it again"
    if start.startswith(b"GGUF"):
        return "gguf", ""
    if start.startswith(b"PK\x03\x04"):
        if not _has_zip_end(file, size):
            return "pickle", "is cut off: the end of its archive is missing; copy the file again"
        return "pickle", ""
    if start[0] == 0x80 and len(start) > 1 and start[1] in range(2, 6):
        return "pickle", ""
    return "unknown", "is no model file: it begins like no known format; download it again"


def _has_zip_end(file: BinaryIO, size: int) -> bool:
    file.seek(max(0, size - _ZIP_END_BYTES), os.SEEK_SET)
    tail = file.read(_ZIP_END_BYTES)
    place = tail.rfind(b"PK\x05\x06")
    return place >= 0 and place + 22 + int.from_bytes(tail[place + 20 : place + 22], "little") == len(tail)
