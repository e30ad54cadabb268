"""Texts that were found in the pixels while a picture was decoded: told of pictures that say nothing themselves."""

from __future__ import annotations

from collections.abc import Mapping

from indexd.images.containers.stealth import KEY
from indexd.images.facts import RawChunk
from indexd.images.metadata import parse
from indexd.layers.description import layers_of_texts
from indexd.layers.ledger import Ledger


def settle(store: Ledger, texts: Mapping[int, str]) -> None:
    """Put what these texts state (by image) into the index; the text is kept with the others of the picture."""
    if not texts:
        return
    rows, raws = store.images.rows(texts), store.images.raws(texts)
    stated = {}
    for image_id, text in texts.items():
        row = rows.get(image_id)
        if row is None or row.is_ai is not None:
            continue
        metadata = parse((*raws.get(image_id, ()), RawChunk(KEY, "utf-8", text)))
        if metadata.is_ai is not None:
            stated[image_id] = metadata
    if stated:
        store.images.restate(stated, layers_of_texts())
