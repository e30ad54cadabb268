"""Paths of folder trees by their parts, as Linux and as Windows write them: an index may have come from the other system."""

from __future__ import annotations

import os
import re

PathParts = tuple[bytes, ...]
_DRIVE = re.compile(rb"[A-Za-z]:(?=[\\/]|\Z)")


def is_windows_path(path: bytes) -> bool:
    r"""Whether this is a path with a drive (`D:\…`) or of a share (`\\server\…`)."""
    return _DRIVE.match(path) is not None or path.startswith(b"\\\\")


def is_absolute_path(path: bytes) -> bool:
    """Whether the path is whole, on either system."""
    return path.startswith(b"/") or is_windows_path(path)


def path_parts(path: bytes) -> PathParts:
    """The parts of an absolute path; those of Windows are folded to lower case, as that system compares them."""
    if not is_windows_path(path):
        return tuple(part for part in path.split(b"/") if part)
    folded = os.fsencode(os.fsdecode(path).casefold())
    return (b"\\\\" if path.startswith(b"\\\\") else b"", *(part for part in re.split(rb"[\\/]", folded) if part))


def relative_to(path: bytes, tree: bytes) -> bytes | None:
    """What follows `tree` in `path`, with `/` between: b"" when they are the same, None when `path` is not below it."""
    inside, outside = path_parts(path), path_parts(tree)
    if is_windows_path(path) != is_windows_path(tree) or inside[: len(outside)] != outside:
        return None
    count = len(inside) - len(outside)
    parts = re.split(rb"[\\/]" if is_windows_path(path) else rb"/", path)
    plain = [part for part in parts if part]
    return b"/".join(plain[len(plain) - count :]) if count else b""


def join_path(tree: bytes, rel: bytes) -> bytes:
    """`rel` (with `/`) under `tree`, written as the system of `tree` writes it."""
    separator = b"\\" if is_windows_path(tree) else b"/"
    bare = tree.rstrip(b"\\/") if is_windows_path(tree) else tree.rstrip(b"/")
    if not rel:
        return (bare + separator if _DRIVE.fullmatch(bare) else bare) or separator
    return bare + separator + (rel.replace(b"/", separator) if separator != b"/" else rel)
