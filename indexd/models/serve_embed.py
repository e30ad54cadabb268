"""Serves embed_text and embed_images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from PIL import Image

from indexd.errors import ModelUnavailable, NotAnImage, NotRegularFile, raise_transient_if_present
from indexd.images.decode import open_image
from indexd.models.embedding_loaders import lease_embedding_model
from indexd.models.embedding_model import ImageEmbeddingModel
from indexd.models.token_windows import EmbeddingArray
from indexd.worker.calls import Embedded, EmbedImages, EmbedText
from indexd.worker.session import CallSession

NO_VECTOR_REASON = "the model gave no usable vector (not a number)"


def embed_text(call: EmbedText, session: CallSession) -> Embedded:
    """One vector a text; an empty list of texts is answered with no rows."""
    with lease_embedding_model(call.role, session) as model:
        if not call.texts:
            return Embedded(np.zeros((0, model.dim), np.float32), model.identity)
        vectors = session.pool.run_with_eviction(
            lambda: model.embed_texts(call.texts, as_query=call.as_query, poll=session.poll)
        )
        return Embedded(vectors, model.identity, _unusable_rows(vectors))


def embed_images(call: EmbedImages, session: CallSession) -> Embedded:
    """One vector a picture; a picture that cannot be decoded has a NaN row and its reason."""
    with lease_embedding_model(call.role, session) as loaded:
        if not hasattr(loaded, "embed_images"):
            raise ModelUnavailable(call.role, "its model embeds texts only")
        model = cast("ImageEmbeddingModel", loaded)
        vectors = np.full((len(call.paths), model.dim), np.nan, np.float32)
        problems: dict[int, str] = {}
        size = session.spec(call.role).batch_size
        for start in range(0, len(call.paths), size):
            session.poll()
            pictures, places = _open_images(call.paths[start : start + size], start, problems)
            if pictures:
                vectors[places] = _embed_batch(model, pictures, session)
            session.progress("pictures", min(start + size, len(call.paths)), len(call.paths))
        return Embedded(vectors, model.identity, {**_unusable_rows(vectors), **problems})


def _embed_batch(model: ImageEmbeddingModel, images: Sequence[Image.Image], session: CallSession) -> EmbeddingArray:
    return session.pool.run_with_eviction(lambda: model.embed_images(images))


def _open_images(paths: Sequence[bytes], start: int, problems: dict[int, str]) -> tuple[list[Image.Image], list[int]]:
    """The pictures that open, with their places in the call; the reasons of the others go to `problems`.

    Raises OSError where the machine is at fault and the picture is there.
    """
    pictures, places = [], []
    for place, path in enumerate(paths, start):
        try:
            pictures.append(open_image(path))
        except (NotAnImage, NotRegularFile, OSError) as error:
            raise_transient_if_present(error, path)
            problems[place] = str(error)
        else:
            places.append(place)
    return pictures, places


def _unusable_rows(vectors: EmbeddingArray) -> dict[int, str]:
    return {int(row): NO_VECTOR_REASON for row in np.flatnonzero(~np.isfinite(vectors).all(axis=1))}
