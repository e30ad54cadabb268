"""Records of index tasks, embedding spaces, metrics and events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

StageInput = Literal["prompt", "negative_prompt", "image", "faces"]


@dataclass(frozen=True, slots=True)
class IndexTask:
    """One piece of work taken in hand: `attempts` counts this one already."""

    image_id: int
    stage: str
    attempts: int


@dataclass(frozen=True, slots=True)
class IndexTaskRow:
    """One piece of work as `explain` shows it."""

    image_id: int
    stage: str
    state: Literal["pending", "running", "failed", "blocked"]
    attempts: int
    not_before: float
    error: str | None


@dataclass(frozen=True, slots=True)
class Revision:
    """The model revision whose vectors a layer compares; `dim` is the length of its vectors."""

    id: int
    layer: str
    identity: str
    dim: int


@dataclass(frozen=True, slots=True)
class EventRow:
    """One thing the daemon noticed, for `status`."""

    at: float
    kind: str
    text: str
    root_id: int | None


@dataclass(frozen=True, slots=True)
class IndexMetrics:
    """Times are seconds since the epoch; None, or no key, if nothing waits.

    `oldest_task_at_by_stage` says when the oldest image that waits for a stage entered the index.
    """

    job_items_by_state: Mapping[str, int]
    renders: int
    render_seconds: float
    oldest_open_job_at: float | None
    oldest_task_at_by_stage: Mapping[str, float]
    unreadable_files: int
    events: Mapping[str, int]


FACE_LAYER = "face"
"""The layer whose vectors belong to regions (faces); the vectors of every other layer belong to images."""

REPLACEMENT_STAGE = "replacement"
"""The index stage that compares an edited file with the annotated image that it replaced."""


VectorKey = Literal["image_id", "region_id"]
