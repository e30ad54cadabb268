"""What the dispatcher needs of the index, as protocols: the real store fits, and so does a plain object in a test."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from indexd.image_metadata.model import ImageMetadata, RawChunk
from indexd.store.records import ImageRow, IndexTask, RegionRow, Revision, StageInput
from indexd.worker.calls import FloatVectors, FoundRegion, ImageAttribute


class IndexTaskStorage(Protocol):
    """What is still to be done, by stage."""

    def claim(self, stage: str, limit: int, now: float, after: str = "") -> Sequence[IndexTask]:
        """Up to `limit` ready tasks, oldest image first; their attempts are counted before this returns.

        Images whose task of the stage `after` is running or ready are left for later.
        """
        ...

    def waiting_stages(self, ids: Collection[int], stages: Collection[str]) -> Mapping[int, Collection[str]]:
        """Which of `stages` these images wait for."""
        ...

    def mark_done(self, stage: str, ids: Collection[int]) -> None:
        """The work is done; its rows go."""
        ...

    def mark_failed(self, stage: str, image_id: int, error: str, *, retry_at: float | None) -> None:
        """An attempt failed; None = set aside."""
        ...

    def mark_blocked(self, stage: str, image_id: int, error: str, *, retry_at: float) -> None:
        """No file is there; the attempt is un-counted, and the work waits for one, or till then if one should be there."""
        ...

    def requeue(self, stage: str, ids: Collection[int]) -> None:
        """Not tried after all: the attempt is un-counted."""
        ...


class VectorStorage(Protocol):
    """The vectors, by layer and model revision."""

    def active_revision(self, layer: str) -> Revision | None:
        """The revision whose vectors are compared."""
        ...

    def activate(self, layer: str, identity: str, dim: int, stage_input: StageInput) -> int:
        """Make that revision the one that is compared; a new one asks for everything again. Answers its id."""
        ...

    def put(self, layer: str, revision_id: int, ids: Sequence[int], vectors: FloatVectors) -> None:
        """Store unit vectors and take their work off the ledger, in one transaction."""
        ...


class ImageStorage(Protocol):
    """Where pictures lie and what their prompts say."""

    def content_hashes(self, ids: Collection[int]) -> Mapping[int, bytes]:
        """The content hashes of the pictures."""
        ...

    def pixel_counts(self, ids: Collection[int]) -> Mapping[int, int]:
        """Width times height of the images."""
        ...

    def prompts(self, ids: Collection[int], stage_input: StageInput) -> Mapping[int, str]:
        """The text that a layer is made of, for the pictures that have it."""
        ...

    def paths(self, ids: Collection[int]) -> Mapping[int, bytes]:
        """One present file each, for the pictures that have one."""
        ...

    def rows(self, ids: Iterable[int]) -> Mapping[int, ImageRow]:
        """What is known of the pictures."""
        ...

    def raw_chunks_by_image(self, ids: Iterable[int]) -> Mapping[int, Sequence[RawChunk]]:
        """The texts that were found in their files."""
        ...

    def update_metadata(
        self, metadata_by_image: Mapping[int, ImageMetadata], layers_by_input: Mapping[StageInput, Sequence[str]]
    ) -> int:
        """Put what is known now in the place of what was; `stages` names the layers by the text that they embed."""
        ...

    def set_decode_problem(self, image_id: int, text: str) -> None:
        """The picture cannot be decoded, and why."""
        ...


class ReplacementStorage(Protocol):
    """Contents that took the place of others which have marks."""

    def candidates(self, new_ids: Collection[int]) -> Mapping[int, Sequence[int]]:
        """What each picture is still to be compared with."""
        ...

    def settle(self, verdicts: Mapping[int, Mapping[int, bool]]) -> int:
        """Take verdicts and copy the marks of what is the same picture; how many pictures got any."""
        ...


class EventStorage(Protocol):
    """What people are told of."""

    def add(self, kind: str, text: str) -> None:
        """Note one event."""
        ...


class PerceptualHashStorage(Protocol):
    """What pictures look like, for finding the same picture twice."""

    def put(self, stage: str, hashes: Mapping[int, bytes]) -> None:
        """Store hashes and take the work of `stage` off the ledger, in one transaction."""
        ...


class FaceStorage(Protocol):
    """Regions of pictures, and the vectors of faces."""

    def with_annotations(self, images: Collection[int]) -> Mapping[int, Sequence[RegionRow]]:
        """The regions of which a person said something."""
        ...

    def activate(self, identity: str, dim: int, detectors: str) -> int:
        """Make this the way in which faces are found and embedded; the id of the model revision."""
        ...

    def put(self, revision_id: int, found: Mapping[int, Sequence[FoundRegion]], vectors: FloatVectors) -> None:
        """Store what was found in pictures and take their work off the ledger, in one transaction."""
        ...


class AttributeStorage(Protocol):
    """What index stages state of images."""

    def identity(self, stage: str) -> str | None:
        """The model revision that stated the attributes of `stage`; None = nothing was stated yet."""
        ...

    def activate(self, stage: str, identity: str, needs: StageInput) -> None:
        """Make `identity` the model revision of `stage`; for another than before, every image is queued again."""
        ...

    def put(self, stage: str, stated: Mapping[int, Sequence[ImageAttribute]]) -> None:
        """Replace what `stage` states of these images and delete their tasks, in one transaction."""
        ...


class KeyValueStorage(Protocol):
    """Single facts by key."""

    def get(self, key: str) -> str | None:
        """The fact, or None."""
        ...

    def set(self, key: str, value: str) -> None:
        """Note it."""
        ...


class IndexStorage(Protocol):
    """The parts of the index that the dispatcher uses."""

    @property
    def index_tasks(self) -> IndexTaskStorage:
        """What is to be done."""
        ...

    @property
    def vectors(self) -> VectorStorage:
        """What was made."""
        ...

    @property
    def images(self) -> ImageStorage:
        """What it is made of."""
        ...

    @property
    def replacements(self) -> ReplacementStorage:
        """What is to be compared."""
        ...

    @property
    def events(self) -> EventStorage:
        """What people are told of."""
        ...

    @property
    def perceptual_hashes(self) -> PerceptualHashStorage:
        """What comes with the thumbnails."""
        ...

    @property
    def faces(self) -> FaceStorage:
        """What is found in pictures."""
        ...

    @property
    def attributes(self) -> AttributeStorage:
        """What stages state of images."""
        ...

    @property
    def key_values(self) -> KeyValueStorage:
        """What the dispatcher remembers between two starts."""
        ...
