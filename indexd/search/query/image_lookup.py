"""From a target to the picture in the index: by id, by content, by path, and by the content of a file elsewhere."""

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
    """The id of the picture, or None. With `by_content` a file that lies outside the index is recognised by its bytes.

    Raises IndexdError where a file would have to be read and cannot be.
    """
    if target.image_id is not None:
        return target.image_id if store.images.content_hashes([target.image_id]) else None
    if target.content_hash is not None:
        return store.images.find_id(target.content_hash)
    assert target.path is not None
    known = store.files.find(target.path)
    if known is not None and known.image_id is not None:
        return known.image_id
    # A share that is not watched is not looked at: whoever asks could make this machine log in anywhere.
    if by_content and not is_unc(os.fsdecode(target.path)) and os.path.isfile(target.path):
        return store.images.find_id(hash_file(target.path))
    return None


def find_image_row(store: IndexStore, target: ImageTarget, *, by_content: bool = True) -> ImageRow | None:
    """The whole row of the picture; see find_id."""
    image_id = find_image_id(store, target, by_content=by_content)
    return store.images.get(image_id) if image_id is not None else None


def hash_file(path: bytes) -> bytes:
    """blake3 (32 bytes) of a regular file; a link is followed. Raises NotRegular, or IndexdError when it cannot be read."""
    hasher = blake3()
    try:
        with open_regular(os.path.realpath(path)) as file:
            while block := file.read(HASH_BLOCK_BYTES):
                hasher.update(block)
    except OSError as error:
        raise IndexdError(f"cannot read {display(path)}: {error.strerror or error}") from None
    return hasher.digest()
