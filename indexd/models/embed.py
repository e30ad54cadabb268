"""Serves embed_text and embed_images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from PIL import Image

from indexd.errors import ModelOff, NotAPicture, NotRegular, raise_unless_away
from indexd.images.decode import open_picture
from indexd.models.embedder import PictureEmbedder
from indexd.models.loaders import embedder
from indexd.models.windows import Vectors
from indexd.worker.calls import Embedded, EmbedImages, EmbedText
from indexd.worker.session import Session

NO_VECTOR = "the model gave no usable vector (not a number)"


def embed_text(call: EmbedText, session: Session) -> Embedded:
    """One vector a text; an empty list of texts is answered with no rows."""
    with embedder(call.role, session) as model:
        if not call.texts:
            return Embedded(np.zeros((0, model.dim), np.float32), model.identity)
        vectors = session.pool.with_room(
            lambda: model.embed_texts(call.texts, as_query=call.as_query, between=session.between_steps)
        )
        return Embedded(vectors, model.identity, _unusable(vectors))


def embed_images(call: EmbedImages, session: Session) -> Embedded:
    """One vector a picture; a picture that cannot be decoded has a NaN row and its reason."""
    with embedder(call.role, session) as loaded:
        if not hasattr(loaded, "embed_pictures"):
            raise ModelOff(call.role, "its model embeds texts only")
        model = cast("PictureEmbedder", loaded)
        vectors = np.full((len(call.paths), model.dim), np.nan, np.float32)
        problems: dict[int, str] = {}
        size = session.spec(call.role).batch_size
        for start in range(0, len(call.paths), size):
            session.between_steps()
            pictures, places = _open(call.paths[start : start + size], start, problems)
            if pictures:
                vectors[places] = _embed_pictures(model, pictures, session)
            session.progress("pictures", min(start + size, len(call.paths)), len(call.paths))
        return Embedded(vectors, model.identity, {**_unusable(vectors), **problems})


def _embed_pictures(model: PictureEmbedder, pictures: Sequence[Image.Image], session: Session) -> Vectors:
    return session.pool.with_room(lambda: model.embed_pictures(pictures))


def _open(paths: Sequence[bytes], start: int, problems: dict[int, str]) -> tuple[list[Image.Image], list[int]]:
    """The pictures that open, with their places in the call; the reasons of the others go to `problems`.

    Raises OSError where the machine is at fault and the picture is there.
    """
    pictures, places = [], []
    for place, path in enumerate(paths, start):
        try:
            pictures.append(open_picture(path))
        except (NotAPicture, NotRegular, OSError) as error:
            raise_unless_away(error, path)
            problems[place] = str(error)
        else:
            places.append(place)
    return pictures, places


def _unusable(vectors: Vectors) -> dict[int, str]:
    return {int(row): NO_VECTOR for row in np.flatnonzero(~np.isfinite(vectors).all(axis=1))}
