"""Which images have decoded pixels on disk, and which stages still want them.

The decode lane decodes each image once, for thumbnail, perceptual hash and hidden text, and leaves the pixels for the
stages whose models take images. A stage that finds none decodes the image itself, so losing a file costs time only.
Used from the dispatcher's thread only.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from indexd.images.pixel_file import BYTES_PER_PIXEL, pixel_file_path

MAX_TOTAL_BYTES = 1 << 30
MAX_SHARE_OF_FREE_SPACE = 0.1
MAX_IMAGE_BYTES = MAX_TOTAL_BYTES // 4
KEEP_SECONDS = 600.0
"""After so long the pixels make room for others: a model that is slower than this decodes again at little relative cost."""


@dataclass(slots=True)
class _PixelFile:
    path: str
    byte_count: int
    stages: set[str]
    since: float
    is_written: bool = False


class DecodedImages:
    """Pixel files by image, of `max_bytes` together at most."""

    def __init__(self, folder: str, max_bytes: int = MAX_TOTAL_BYTES) -> None:
        self.folder = folder
        self._max_bytes = max_bytes
        self._files: dict[int, _PixelFile] = {}
        self._total_bytes = 0

    def clear(self) -> None:
        """Delete every pixel file, also those that an earlier process left; limit the total to the space that is free."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._files.clear()
        self._total_bytes = 0
        parent = os.path.dirname(self.folder)
        free = shutil.disk_usage(parent).free if os.path.isdir(parent) else self._max_bytes
        self._max_bytes = min(self._max_bytes, int(free * MAX_SHARE_OF_FREE_SPACE))

    def reserve(self, image_id: int, content_hash: bytes, pixels: int, stages: Collection[str], now: float) -> bool:
        """Make room for the pixels of an image that `stages` will want; False = they decode it themselves."""
        byte_count = BYTES_PER_PIXEL * pixels
        if not stages or image_id in self._files or byte_count > MAX_IMAGE_BYTES:
            return False
        if self._total_bytes + byte_count > self._max_bytes:
            self._delete([one for one, file in self._files.items() if not 0 <= now - file.since < KEEP_SECONDS])
        if self._total_bytes + byte_count > self._max_bytes:
            return False
        path = pixel_file_path(self.folder, content_hash)
        self._files[image_id] = _PixelFile(path, byte_count, set(stages), now)
        self._total_bytes += byte_count
        return True

    def mark_written(self, image_id: int) -> None:
        """The decode lane has written the file."""
        if image_id in self._files:
            self._files[image_id].is_written = True

    def discard_unwritten(self, image_ids: Iterable[int]) -> None:
        """The decode lane is done with these images: what it did not write will not come."""
        self._delete([one for one in image_ids if one in self._files and not self._files[one].is_written])

    def files(self, stage: str, image_ids: Iterable[int]) -> tuple[str, ...]:
        """The pixel files for a call of `stage`, in the order of the images; "" = the image itself has to be decoded."""
        found = [self._files.get(image_id) for image_id in image_ids]
        return tuple(file.path if file and file.is_written and stage in file.stages else "" for file in found)

    def release(self, stage: str, image_ids: Iterable[int]) -> None:
        """A batch of `stage` has ended, well or not: it wants the pixels of these images no more."""
        for image_id in image_ids:
            file = self._files.get(image_id)
            if file is not None:
                file.stages.discard(stage)
                if not file.stages:
                    self._delete([image_id])

    def release_stage(self, stage: str) -> None:
        """The model of `stage` is off for a while: nothing is kept for it."""
        self.release(stage, list(self._files))

    def _delete(self, image_ids: Iterable[int]) -> None:
        for image_id in image_ids:
            file = self._files.pop(image_id)
            self._total_bytes -= file.byte_count
            with contextlib.suppress(OSError):  # never written, or deleted with the cache; `clear` takes what is left
                os.unlink(file.path)
