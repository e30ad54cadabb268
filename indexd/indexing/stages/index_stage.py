"""What an index stage is: one kind of work on every image, from claimed tasks to a worker call to rows in the index."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from indexd.errors import IndexdError
from indexd.image_metadata.model import ImageFacts
from indexd.indexing.decoded_images import DecodedImages
from indexd.store.protocols import IndexStore
from indexd.store.records import IndexTask, StageInput
from indexd.worker.calls import AnyCall, Priority, WorkerSettings
from indexd.worker.routing import DECODE, lane_of_role

NO_FILE_RETRY_SECONDS = 20.0
NO_FILE_REASON = "no file of this image is present at the moment"
DEFAULT_BATCH_SIZE = 16


class DimensionMismatch(IndexdError):
    """A model returned vectors of another length than before: nothing of the batch is stored."""


@dataclass(frozen=True, slots=True)
class ThumbnailTarget:
    """The folder of the thumbnails, and the length of their longer side."""

    folder: str
    size_px: int


@dataclass(frozen=True, slots=True)
class StageContext:
    """What a stage may use while it builds a call or stores a result. `now` is seconds since the epoch.

    `pixel_stages` names the stages that could take the decoded pixels of an image now, because their models are there.
    """

    store: IndexStore
    settings: WorkerSettings
    thumbnails: ThumbnailTarget
    decoded: DecodedImages
    now: float
    pixel_stages: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class TaskBatch:
    """The tasks of one call; place i of its result belongs to `tasks[i]`.

    `paths` are the image files that the call opens, in the order of the tasks; empty for a call on texts.
    """

    stage: str
    tasks: tuple[IndexTask, ...]
    call: AnyCall
    paths: tuple[bytes, ...] = ()

    @property
    def image_ids(self) -> list[int]:
        """The ids of the images, in the order of the call."""
        return [task.image_id for task in self.tasks]


class IndexStage(ABC):
    """One kind of work on every image.

    A subclass states the attributes below, builds the call of a batch and stores its result. The dispatcher does the
    rest: batches, retries, back-off while the model is missing. `build` and `store` run in the dispatcher's thread and
    never import a model library; the call names the function of the worker that does.
    """

    name: str
    """The name of its tasks in the index. It never changes: tasks and results are kept under it."""
    role: str | None = None
    """The model that it needs; None = it runs without one, in the decode lane."""
    needs: StageInput = "image"
    """What it works on. An image without that gets no task."""
    is_optional: bool = False
    """Whether images get a task only while the stage is switched on in the settings."""
    order: int = 100
    """Stages of a lower number go first where nothing else decides."""
    priority: Priority = Priority.BACKGROUND
    """Which calls go first where several wait for one worker."""
    timeout_seconds: float = 900.0
    """The longest silence of a call. A first batch may load gigabytes from a slow disk without a sign of life."""

    @property
    def takes_pixels(self) -> bool:
        """Whether its call takes decoded images: it waits for the decode lane, which leaves their pixels for it."""
        return self.role is not None and self.needs in ("image", "faces")

    def lane(self, settings: WorkerSettings) -> str:
        """The worker lane of its calls."""
        return DECODE if self.role is None else lane_of_role(self.role, settings)

    def batch_size(self, settings: WorkerSettings) -> int:
        """How many images go to the worker in one call."""
        return DEFAULT_BATCH_SIZE if self.role is None else settings.models[self.role].batch_size

    def applies_to(self, facts: ImageFacts) -> bool:
        """Whether the image has what the stage works on."""
        match self.needs:
            case "prompt":
                return bool((facts.metadata.prompt or "").strip())
            case "negative_prompt":
                return bool((facts.metadata.negative_prompt or "").strip())
        return True

    def identity_call(self) -> AnyCall | None:
        """A call on no input, whose answer names the model revision; None = the stage has no model to compare."""
        return None

    def needs_identity(self, store: IndexStore) -> bool:  # noqa: ARG002 - the signature is the subclasses'
        """Whether replaced model files matter now, so that the identity call is due when they differ."""
        return False

    @abstractmethod
    def build(self, tasks: Sequence[IndexTask], context: StageContext) -> TaskBatch | None:
        """The batch for these tasks. Tasks without input are settled here; None = nothing is left to call for."""

    @abstractmethod
    def store(self, batch: TaskBatch, result: Any, context: StageContext) -> Mapping[int, str]:
        """Store the result and delete the tasks that are done, in one transaction; return the problems by place."""


def present_files(
    stage: IndexStage, tasks: Sequence[IndexTask], context: StageContext
) -> tuple[tuple[IndexTask, ...], tuple[bytes, ...]]:
    """The tasks whose image has a file now, with the files' paths; the others are blocked until one comes back."""
    paths = context.store.images.paths([task.image_id for task in tasks])
    ready = tuple(task for task in tasks if task.image_id in paths)
    for task in tasks:
        if task.image_id not in paths:
            block_without_file(stage.name, task.image_id, context)
    return ready, tuple(paths[task.image_id] for task in ready)


def block_without_file(stage: str, image_id: int, context: StageContext) -> None:
    """No file of the image can be opened: its task waits for one without an attempt being counted."""
    retry_at = context.now + NO_FILE_RETRY_SECONDS
    context.store.index_tasks.mark_blocked(stage, image_id, NO_FILE_REASON, retry_at=retry_at)


def settle_problems(batch: TaskBatch, problems: Mapping[int, str], context: StageContext) -> None:
    """Give up the tasks whose image has a problem, by place; a task whose file is gone waits for it instead."""
    for place, problem in problems.items():
        image_id = batch.image_ids[place]
        if batch.paths and not os.path.exists(batch.paths[place]):
            block_without_file(batch.stage, image_id, context)
            continue
        if batch.paths:
            context.store.images.set_decode_problem(image_id, problem)
        context.store.index_tasks.mark_failed(batch.stage, image_id, problem, retry_at=None)
