"""Finds the image of a target in the index by id, content hash, path, or the content of another file."""

from __future__ import annotations

import os

from blake3 import blake3

from indexd.errors import IndexdError
from indexd.fs.paths import display, is_unc
from indexd.fs.safe_open import open_regular
from indexd.search.query.image_target import ImageTarget
from indexd.store.protocols import IndexStore
from indexd.store.records import ImageRow

HASH_BLOCK_BYTES = 1 << 20


def find_image_id(store: IndexStore, target: ImageTarget, *, by_content: bool = True) -> int | None:
    """The id of the image, or None. With `by_content` a file that is not in the index is found by its content hash.

    Raises IndexdError when such a file cannot be read.
    """
    if target.image_id is not None:
        return target.image_id if store.images.content_hashes([target.image_id]) else None
    if target.content_hash is not None:
        return store.images.find_id(target.content_hash)
    assert target.path is not None
    file = store.files.find(target.path)
    if file is not None and file.image_id is not None:
        return file.image_id
    # Reading a UNC path logs in to its host, and a client must not choose that host.
    if by_content and not is_unc(os.fsdecode(target.path)) and os.path.isfile(target.path):
        return store.images.find_id(hash_file(target.path))
    return None


def find_image_row(store: IndexStore, target: ImageTarget, *, by_content: bool = True) -> ImageRow | None:
    """The row of the image; see `find_image_id`."""
    image_id = find_image_id(store, target, by_content=by_content)
    return store.images.get(image_id) if image_id is not None else None


def hash_file(path: bytes) -> bytes:
    """BLAKE3 (32 bytes) of a file; symbolic links are followed. Raises NotRegularFile or another IndexdError."""
    hasher = blake3()
    try:
        with open_regular(os.path.realpath(path)) as file:
            while block := file.read(HASH_BLOCK_BYTES):
                hasher.update(block)
    except OSError as error:
        raise IndexdError(f"cannot read {display(path)}: {error.strerror or error}") from None
    return hasher.digest()
