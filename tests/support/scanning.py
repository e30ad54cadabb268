"""One settled file read in this process, as the image handler does it for a batch."""

from __future__ import annotations

from indexd.fs.file_stamp import SettledFile
from indexd.registry import IngestContext
from indexd.store.records import ScannedFile
from indexd_handlers.image_file import scan_images


def scan_image(file: SettledFile, context: IngestContext) -> ScannedFile:
    """What is recorded of the file. Raises OSError where it is gone or the system could not read it."""
    [result] = scan_images([file], context)
    if isinstance(result, OSError):
        raise result
    return result
