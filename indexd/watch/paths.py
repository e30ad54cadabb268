"""Paths of watched files: bytes inside, `rel` with `/` on every system, text only for people."""

from __future__ import annotations

import os

_SEPARATOR = os.fsencode(os.sep)


def absolute(root: bytes, rel: bytes) -> bytes:
    """The path of `rel` under `root`, in the form the system opens; `rel` empty = the root itself."""
    if not rel:
        return root
    native = rel if _SEPARATOR == b"/" else rel.replace(b"/", _SEPARATOR)
    return root + native if root.endswith(_SEPARATOR) else root + _SEPARATOR + native


def relative(root: bytes, path: bytes) -> bytes | None:
    """`path` as seen from `root` with `/` separators; None where it does not lie under it."""
    if path == root:
        return b""
    prefix = root if root.endswith(_SEPARATOR) else root + _SEPARATOR
    if not path.startswith(prefix):
        return None
    rel = path[len(prefix) :]
    return rel if _SEPARATOR == b"/" else rel.replace(_SEPARATOR, b"/")


def display(path: bytes) -> str:
    """Text for people: what is no UTF-8 is shown as `?`."""
    return os.fsdecode(path).encode("utf-8", "replace").decode()
