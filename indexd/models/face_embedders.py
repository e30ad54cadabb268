"""What makes vectors of faces: ViT-H, or an identity model of another package, found through an entry point.

A package offers one in the entry-point group `indexd.face_embedders`: a function `load(path, device, cache_folder)` that
answers a FaceEmbedder. `path` is [faces] embedder_path, "" where that is not set; `device` is cpu, cuda or cuda:N.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib.metadata import entry_points
from typing import Protocol

from PIL import Image

from indexd.errors import IndexdError, ModelUnavailable
from indexd.models.device import is_out_of_memory
from indexd.models.embedding_loaders import lease_embedding_model
from indexd.models.token_windows import EmbeddingArray
from indexd.worker.calls import CLIP_H, FACES, FacesSpec
from indexd.worker.session import CallSession

ENTRY_POINT_GROUP = "indexd.face_embedders"


class FaceEmbedder(Protocol):
    """A resident model for faces."""

    @property
    def identity(self) -> str:
        """Names the revision: equal identity = comparable vectors. It must depend on the weights."""
        ...

    @property
    def dim(self) -> int:
        """The length of its vectors."""
        ...

    def embed_images(self, images: Sequence[Image.Image]) -> EmbeddingArray:
        """One vector a face (a square RGB image of it), float32 (n, dim), unit length; NaN where there is none."""
        ...


def lease_face_embedder(spec: FacesSpec, device: str, session: CallSession) -> AbstractContextManager[FaceEmbedder]:
    """A lease of the embedder of the settings. Raises ModelUnavailable with the reason for which it cannot be loaded."""
    if spec.embedder == CLIP_H:
        return lease_embedding_model(CLIP_H, session)  # type: ignore[return-value]  # the role's model takes images
    key = f"{FACES}:{spec.embedder}:{spec.embedder_path}:{device}"
    cache_folder = session.settings.cache_folder
    return session.pool.lease(FACES, key, lambda: _load(spec, device, cache_folder), spec.keep_alive_seconds)


def _load(spec: FacesSpec, device: str, cache_folder: str) -> FaceEmbedder:
    offered = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if spec.embedder not in offered:
        known = [CLIP_H, *sorted(offered)]
        near = difflib.get_close_matches(spec.embedder, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise ModelUnavailable(FACES, f"no face embedder {spec.embedder!r} is installed; {hint}")
    try:
        loaded: FaceEmbedder = offered[spec.embedder].load()(spec.embedder_path, device, cache_folder)
    except IndexdError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise ModelUnavailable(
            FACES, f"the face embedder {spec.embedder} cannot be loaded: {str(error)[:300]}"
        ) from error
    return loaded
