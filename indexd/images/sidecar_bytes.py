"""The bytes of a text that another program put beside images, as far as they can be had."""

from __future__ import annotations

import errno
import logging

from indexd.errors import NotRegularFile, raise_if_transient
from indexd.fs.paths import display
from indexd.fs.safe_open import open_regular

log = logging.getLogger(__name__)


def read_sidecar_bytes(path: bytes, max_bytes: int) -> bytes | None:
    """The first `most` bytes; None where there is nothing that can be opened, or a bad sector, which stays one.

    Raises OSError where the machine is at fault: what stands there would never be looked for again.
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
