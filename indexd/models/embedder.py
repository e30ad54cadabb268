"""What a loaded embedding model offers to the calls, whichever library it comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from PIL import Image

from indexd.models.windows import Vectors

Between = Callable[[], None]


class Embedder(Protocol):
    """A resident embedding model. Vectors are float32 (n, dim), unit length; NaN rows where the model gave nothing."""

    @property
    def identity(self) -> str:
        """Names the revision: equal identity = comparable vectors."""
        ...

    @property
    def dim(self) -> int:
        """The length of its vectors."""
        ...

    def embed_texts(self, texts: Sequence[str], *, as_query: bool, between: Between) -> Vectors:
        """One vector a text. `between` is called at every point where the work can be interrupted."""
        ...


class PictureEmbedder(Embedder, Protocol):
    """An embedding model that also takes pictures, in the same space as texts."""

    def embed_pictures(self, pictures: Sequence[Image.Image]) -> Vectors:
        """One vector a picture (RGB)."""
        ...
