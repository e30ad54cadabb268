"""Skips a file whose handling fails, so that it does not stop the other files."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from indexd.errors import StoreError
from indexd.fs.paths import absolute, display

log = logging.getLogger(__name__)


@contextmanager
def guard_file(root: bytes, rel: bytes) -> Iterator[None]:
    """Log a bug in the block with the path of the file, and skip the file.

    OSError and StoreError pass: they are trouble of the machine or of the index, after which the root is scanned again.
    """
    try:
        yield
    except (OSError, StoreError):
        raise
    except Exception:
        log.exception("skipping %s: a bug while handling it", display(absolute(root, rel)))
