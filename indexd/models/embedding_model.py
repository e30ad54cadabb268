"""What a loaded embedding model offers to the calls, whichever library it comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from PIL import Image

from indexd.models.token_windows import EmbeddingArray

Poll = Callable[[], None]


class EmbeddingModel(Protocol):
    """A resident embedding model. Vectors are float32 (n, dim), unit length; NaN rows where the model gave nothing."""

    @property
    def identity(self) -> str:
        """Names the revision: equal identity = comparable vectors."""
        ...

    @property
    def dim(self) -> int:
        """The length of its vectors."""
        ...

    def embed_texts(self, texts: Sequence[str], *, as_query: bool, poll: Poll) -> EmbeddingArray:
        """One vector a text. `poll` is called at every point where the work can be interrupted."""
        ...


class ImageEmbeddingModel(EmbeddingModel, Protocol):
    """An embedding model that also takes images, in the same space as texts."""

    def embed_images(self, images: Sequence[Image.Image]) -> EmbeddingArray:
        """One vector an image (RGB)."""
        ...
