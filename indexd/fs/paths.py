"""Paths of watched files: bytes inside, `rel` with `/` on every system, text only for people.

Windows takes no path of 260 characters and more, unless it is written in its long form (`\\\\?\\C:\\…`, `\\\\?\\UNC\\nas\\…`); see
"Maximum Path Length Limitation" in the documentation of the Windows API.
"""

from __future__ import annotations

import os
import re
from pathlib import PureWindowsPath
from urllib.parse import quote_from_bytes

_SEPARATOR = os.fsencode(os.sep)
# 260 with the closing NUL; a folder needs room for a name of the old form (8.3) as well.
SHORT_PATH_CHARACTERS = 247
_LONG_PREFIX = "\\\\?\\"
_LONG_UNC_PREFIX = "\\\\?\\UNC\\"


def absolute(root: bytes, rel: bytes) -> bytes:
    """The path of `rel` under `root`, in the form the system opens; `rel` empty = the root itself.

    A root of Linux in an index that was moved to Windows keeps its separators: it cannot be opened there, only shown.
    """
    if not rel:
        return root
    if _separator_of(root) == b"/":
        return root + rel if root.endswith(b"/") else root + b"/" + rel
    native = rel.replace(b"/", _SEPARATOR)
    path = root + native if root.endswith(_SEPARATOR) else root + _SEPARATOR + native
    return os.fsencode(to_long_path(os.fsdecode(path)))


def to_long_path(path: str) -> str:
    """An absolute path of Windows in the form that may have any length; a short one as it is."""
    if len(path) <= SHORT_PATH_CHARACTERS or path.startswith(_LONG_PREFIX):
        return path
    # In the long form nothing is tidied up by the system, so that `/` and `.` would be names.
    plain = str(PureWindowsPath(path))
    return _LONG_UNC_PREFIX + plain[2:] if plain.startswith("\\\\") else _LONG_PREFIX + plain


def strip_long_prefix(path: str) -> str:
    """The path without the prefix that `to_long_path` adds."""
    if path.startswith(_LONG_UNC_PREFIX):
        return "\\\\" + path.removeprefix(_LONG_UNC_PREFIX)
    return path.removeprefix(_LONG_PREFIX)


def relative(root: bytes, path: bytes) -> bytes | None:
    """`path` as seen from `root` with `/` separators; None where it does not lie under it."""
    if path == root:
        return b""
    separator = _separator_of(root)
    prefix = root if root.endswith(separator) else root + separator
    if not path.startswith(prefix):
        return None
    rel = path[len(prefix) :]
    return rel if separator == b"/" else rel.replace(separator, b"/")


def _separator_of(root: bytes) -> bytes:
    return b"/" if root.startswith(b"/") and not root.startswith(b"//") else _SEPARATOR


def display(path: bytes) -> str:
    """Text for people: what is no UTF-8 is shown as `?`. An index of Linux may hold such names on Windows too."""
    text = path.decode("utf-8", "surrogateescape")
    return (text if _SEPARATOR == b"/" else strip_long_prefix(text)).encode("utf-8", "replace").decode()


def quoted_if_not_utf8(path: bytes) -> str | None:
    """The path percent-encoded where it is not UTF-8, so that a program gets its very bytes; None where text suffices."""
    try:
        path.decode("utf-8")
    except UnicodeDecodeError:
        return quote_from_bytes(path, safe="/")
    return None


# Where a path leads: to another machine, out of its folder by a link, or where it says. Nothing here ever fetches, and merely looking at `\\\\host\\share` makes Windows log in there with the user's name and password hash; so what comes from outside (a job file, a question) is looked at before the system sees it.

_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://|file:|data:", re.IGNORECASE)


def is_url(text: str) -> bool:
    """Whether this is an address (URL) and no path: `https://…`, `file:…`, `data:…`."""
    return _URL.match(text) is not None


def is_unc(text: str) -> bool:
    """Whether Windows would read this as a share or a device: two slashes of either kind, to begin with."""
    return text[:2] in ("\\\\", "\\/", "/\\") or (os.name == "nt" and text.startswith("//"))


def is_inside(folder: bytes | str | os.PathLike[str], path: bytes | str | os.PathLike[str]) -> bool:
    """Whether `path` lies in `folder` (or is it) once every link in both is followed. Neither need be there."""
    real_folder, real = os.path.realpath(os.fsencode(folder)), os.path.realpath(os.fsencode(path))
    return real == real_folder or real.startswith(real_folder.rstrip(os.fsencode(os.sep)) + os.fsencode(os.sep))
