"""Reads the first bytes of a sidecar file."""

from __future__ import annotations

import errno
import logging

from indexd.errors import NotRegularFile, raise_if_transient
from indexd.fs.paths import display
from indexd.fs.safe_open import open_regular

log = logging.getLogger(__name__)

SIDECAR_BYTES_MAX = 1 << 20
"""A longer sidecar is neither parsed nor replaced."""


def read_sidecar_bytes(path: bytes, max_bytes: int) -> bytes | None:
    """The first `max_bytes` bytes; None if the file cannot be opened or has a bad sector.

    Raises OSError if the machine is at fault, because nothing would read the sidecar again later.
    """
    try:
        with open_regular(path) as file:
            return file.read(max_bytes)
    except OSError as error:
        if error.errno == errno.EIO:
            log.warning("%s cannot be read; its images are indexed without it: %s", display(path), error.strerror)
        else:
            raise_if_transient(error)
    except (NotRegularFile, ValueError):
        pass
    return None
