"""Control maps kept as PNG files by what decides them, so that the same map is never made twice; the folder is bounded."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

from blake3 import blake3
from PIL import Image

log = logging.getLogger(__name__)

FOLDER = "control-maps"
_VERSION = 1
"""Counts changes in how maps are made: another one makes them anew."""


class ControlMapCache:
    """The maps of one cache folder. Several processes may use it at once."""

    def __init__(self, cache_folder: str | Path, limit_bytes: int) -> None:
        self._folder = Path(cache_folder) / FOLDER
        self._limit_bytes = limit_bytes

    def path(self, *parts: object) -> Path:
        """Where the map lies that these decide: content hash, method, parameters, size."""
        key = "\0".join(str(part) for part in (_VERSION, *parts))
        return self._folder / f"{blake3(key.encode('utf-8', 'surrogateescape')).hexdigest()[:40]}.png"

    def get(self, path: Path) -> Image.Image | None:
        """The map as RGB; None = it is not there, or damaged. It counts as used now."""
        try:
            with Image.open(path, formats=("PNG",)) as opened:
                found = opened.convert("RGB")
            os.utime(path)
        except Exception:  # Pillow raises eight classes for broken files
            return None
        return found

    def put(self, path: Path, image: Image.Image) -> None:
        """Keep a map, whole or not at all, and drop the least recently used over the limit. Raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f"{path.stem}.{os.getpid()}.part")
        try:
            image.save(scratch, "PNG", compress_level=2)
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)
        self._drop_oldest(path)

    def _drop_oldest(self, newest: Path) -> None:
        files = []
        for file in self._folder.iterdir():
            with contextlib.suppress(OSError):  # another process took it away
                stat = file.stat()
                files.append((stat.st_mtime_ns, stat.st_size, file))
        total = sum(size for _, size, _ in files)
        for _, size, file in sorted(files):
            if total <= self._limit_bytes:
                return
            if file != newest:
                with contextlib.suppress(OSError):
                    file.unlink()
                total -= size
