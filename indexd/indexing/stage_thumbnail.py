"""Texts that were found in the pixels while a picture was decoded: told of pictures that say nothing themselves."""

from __future__ import annotations

from collections.abc import Mapping

from indexd.image_metadata import parse_metadata
from indexd.image_metadata.containers.stealth import STEALTH_CHUNK_KEY
from indexd.image_metadata.model import RawChunk
from indexd.indexing.stages import text_layers_by_input
from indexd.store.protocols import IndexStorage


def store_stealth_metadata(store: IndexStorage, texts: Mapping[int, str]) -> None:
    """Put what these texts state (by image) into the index; the text is kept with the others of the picture."""
    if not texts:
        return
    rows, raws = store.images.rows(texts), store.images.raw_chunks_by_image(texts)
    stated = {}
    for image_id, text in texts.items():
        row = rows.get(image_id)
        if row is None or row.is_ai is not None:
            continue
        metadata = parse_metadata((*raws.get(image_id, ()), RawChunk(STEALTH_CHUNK_KEY, "utf-8", text)))
        if metadata.is_ai is not None:
            stated[image_id] = metadata
    if stated:
        store.images.update_metadata(stated, text_layers_by_input())
