"""A file of our own in a watched folder, written and expected back as an event: is the watcher alive?"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import Literal

from indexd.fs.paths import absolute

# Hidden, so that no selection lets it in; always the same name, so that a crash leaves at most one behind, and the
# next cookie takes it away.
COOKIE_NAME = b".indexd-cookie"

_COOKIE_OPEN_FLAGS = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)

CookieResult = Literal["dropped", "read-only", "failed"]


def drop_cookie(root: bytes) -> CookieResult:
    """Make the cookie and remove it at once; either is an event. "read-only": the folder takes no files of ours."""
    path = absolute(root, COOKIE_NAME)
    try:
        os.close(os.open(path, _COOKIE_OPEN_FLAGS, 0o600))
    except OSError as error:
        return "read-only" if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) else "failed"
    with contextlib.suppress(OSError):
        os.unlink(path)
    return "dropped"
