"""Where a path leads: to another machine, out of its folder by a link, or where it says.

Nothing here ever fetches, and merely looking at `\\\\host\\share` makes Windows log in there with the user's name and
password hash; so what comes from outside (a job file, a question) is looked at before the system sees it.
"""

from __future__ import annotations

import os
import re

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
