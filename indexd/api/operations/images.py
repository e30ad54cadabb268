"""The bytes of a picture by its id: of its thumbnail, or of a file whose content is still the one that was indexed."""

from __future__ import annotations

import os
from collections.abc import Sequence

from blake3 import blake3

from indexd.api.image_bytes import ImageBytes
from indexd.config import Config
from indexd.errors import IndexdError, NothingFound, NotRegularFile
from indexd.fs.paths import is_inside
from indexd.fs.safe_open import open_regular
from indexd.images.thumbnail import thumbnail_path
from indexd.indexing.stages.registry import find_stage
from indexd.store.records import FileRow
from indexd.store.sqlite.store import Store
from indexd.watch.roots import watched_folders
from indexd_schemas.api.output import PendingTask, RoleState

MAX_FILE_BYTES = 256 << 20
_MEDIA_TYPES = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "WEBP": "image/webp",
    "AVIF": "image/avif",
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
}
_UNKNOWN_MEDIA_TYPE = "application/octet-stream"


def load_thumbnail(store: Store, config: Config, image_id: int) -> ImageBytes:
    """The thumbnail. Raises NothingFound when there is no such picture, or none was made of it yet."""
    content_hash = store.images.content_hashes([image_id]).get(image_id)
    if content_hash is None:
        raise NothingFound(f"there is no picture #{image_id}")
    try:
        with open_regular(thumbnail_path(config.paths.thumbnails, content_hash)) as file:
            return ImageBytes(file.read(MAX_FILE_BYTES), "image/webp", f"{image_id}.webp")
    except (OSError, NotRegularFile):
        raise NothingFound(f"#{image_id} has no thumbnail yet") from None


def load_original(store: Store, config: Config, image_id: int) -> ImageBytes:
    """A file of the picture that is in a watched folder and still holds what was indexed.

    That its bytes have the hash of the index is what makes this safe: whatever was put in the place of the file, by a
    link or otherwise, is not sent. Raises NothingFound.
    """
    row = store.images.get(image_id)
    if row is None:
        raise NothingFound(f"there is no picture #{image_id}")
    roots = [folder.path for folder in watched_folders(config) if folder.purpose == "images"]
    for file in row.files:
        data = _read_watched_file(file, roots)
        if data is not None and blake3(data).digest() == row.content_hash:
            name = os.path.basename(os.fsdecode(file.path)).encode("utf-8", "replace").decode()
            return ImageBytes(data, _MEDIA_TYPES.get(row.format, _UNKNOWN_MEDIA_TYPE), name)
    raise NothingFound(f"no file of #{image_id} is there that holds what was indexed; `indexd explain` says more")


def _read_watched_file(file: FileRow, roots: list[bytes]) -> bytes | None:
    if file.missing_since is not None or not any(is_inside(root, file.path) for root in roots):
        return None
    try:
        # The links of folders are followed now, once; the check and the opening then speak of the same file.
        with open_regular(os.path.join(os.path.realpath(os.path.dirname(file.path)), os.path.basename(file.path))) as f:
            data = f.read(MAX_FILE_BYTES + 1)
    except (OSError, IndexdError):
        return None
    return data if len(data) <= MAX_FILE_BYTES else None


# What a picture still waits for, with the reason where a model is off.


def pending_index_tasks(store: Store, roles: Sequence[RoleState], image_id: int) -> list[PendingTask]:
    """The picture's open work, stage by stage; `roles` say which model is off, and why."""
    rows = store.index_tasks.of_image(image_id)
    if not rows:
        return []
    off = {state.role: state.detail for state in roles if not state.on}
    pending = []
    for row in rows:
        stage = find_stage(row.stage)
        waits_for = f"{stage.role} is off, because {off[stage.role]}" if stage and stage.role in off else None
        pending.append(
            PendingTask(stage=row.stage, state=row.state, attempts=row.attempts, error=row.error, waits_for=waits_for)
        )
    return pending
