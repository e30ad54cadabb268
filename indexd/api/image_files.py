"""The bytes of an image by its id: its thumbnail, or a file whose content is still the indexed one."""

from __future__ import annotations

import os

from blake3 import blake3

from indexd.api.image_bytes import ImageBytes
from indexd.config import Config
from indexd.errors import IndexdError, NothingFound, NotRegularFile
from indexd.fs.paths import is_inside
from indexd.fs.safe_open import open_regular
from indexd.images.thumbnail import thumbnail_path
from indexd.store.protocols import IndexStore
from indexd.store.records import FileRow
from indexd.watch.roots import watched_folders

MAX_FILE_BYTES = 256 << 20
_MEDIA_TYPES = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "WEBP": "image/webp",
    "AVIF": "image/avif",
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
    "MP4": "video/mp4",
    "WEBM": "video/webm",
}
_UNKNOWN_MEDIA_TYPE = "application/octet-stream"


def load_thumbnail(store: IndexStore, config: Config, image_id: int) -> ImageBytes:
    """The thumbnail. Raises NothingFound when there is no such image or no thumbnail yet."""
    content_hash = store.images.content_hashes([image_id]).get(image_id)
    if content_hash is None:
        raise NothingFound(f"there is no image #{image_id}")
    try:
        with open_regular(thumbnail_path(config.paths.thumbnails, content_hash)) as file:
            return ImageBytes(file.read(MAX_FILE_BYTES), "image/webp", f"{image_id}.webp")
    except (OSError, NotRegularFile):
        raise NothingFound(f"#{image_id} has no thumbnail yet") from None


def load_original(store: IndexStore, config: Config, image_id: int) -> ImageBytes:
    """A file of the image in a watched folder, if its bytes still have the indexed hash. Raises NothingFound.

    The hash check makes this safe: content that replaced the file, by a link or otherwise, is never sent.
    """
    row = store.images.get(image_id)
    if row is None:
        raise NothingFound(f"there is no image #{image_id}")
    roots = [folder.path for folder in watched_folders(config) if folder.purpose == "images"]
    for file in row.files:
        data = _read_watched_file(file, roots)
        if data is not None and blake3(data).digest() == row.content_hash:
            name = os.path.basename(os.fsdecode(file.path)).encode("utf-8", "replace").decode()
            return ImageBytes(data, _MEDIA_TYPES.get(row.format, _UNKNOWN_MEDIA_TYPE), name)
    raise NothingFound(f"no file of #{image_id} still has the indexed content; `indexd explain FILE` says why")


def _read_watched_file(file: FileRow, roots: list[bytes]) -> bytes | None:
    if file.missing_since is not None or not any(is_inside(root, file.path) for root in roots):
        return None
    try:
        # Links in the folder part are resolved once, here; then the last component is opened without following a link.
        with open_regular(os.path.join(os.path.realpath(os.path.dirname(file.path)), os.path.basename(file.path))) as f:
            data = f.read(MAX_FILE_BYTES + 1)
    except (OSError, IndexdError):
        return None
    return data if len(data) <= MAX_FILE_BYTES else None
