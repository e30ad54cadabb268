"""Serves embed_text and embed_images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from PIL import Image

from indexd.errors import ModelUnavailable
from indexd.models.embedding_loaders import lease_embedding_model
from indexd.models.embedding_model import ImageEmbeddingModel
from indexd.models.image_inputs import iterate_images
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
    """One vector an image; an image that cannot be decoded has a NaN row and its reason."""
    with lease_embedding_model(call.role, session) as loaded:
        if not hasattr(loaded, "embed_images"):
            raise ModelUnavailable(call.role, "its model embeds texts only")
        model = cast("ImageEmbeddingModel", loaded)
        vectors = np.full((len(call.paths), model.dim), np.nan, np.float32)
        problems: dict[int, str] = {}
        for images in iterate_images(call.paths, call.pixel_files, session.spec(call.role).batch_size, problems):
            session.poll()
            vectors[list(images)] = _embed_batch(model, list(images.values()), session)
            session.progress("images", max(images) + 1, len(call.paths))
        return Embedded(vectors, model.identity, {**_unusable_rows(vectors), **problems})


def _embed_batch(model: ImageEmbeddingModel, images: Sequence[Image.Image], session: CallSession) -> EmbeddingArray:
    return session.pool.run_with_eviction(lambda: model.embed_images(images))


def _unusable_rows(vectors: EmbeddingArray) -> dict[int, str]:
    return {int(row): NO_VECTOR_REASON for row in np.flatnonzero(~np.isfinite(vectors).all(axis=1))}
