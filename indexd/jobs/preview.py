"""What a job file would make, and how long that would take; nothing is written."""

from __future__ import annotations

import os
import secrets
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from indexd.config import Config
from indexd.jobs.admission.admission import Admission
from indexd.jobs.files.folders import JobFolders
from indexd.jobs.files.sync import JobFileSync
from indexd.model_files import ModelCatalogue
from indexd.store.protocols import IndexStore
from indexd.store.records import NewJobItem
from indexd_schemas.api.output import JobPreview, PreviewedItem
from indexd_schemas.job_state import JobState

TIMED_JOBS = 50
TIMED_ITEMS = 500


def preview_job(config: Config, store: IndexStore, source: bytes, name: str, sample: int) -> JobPreview:
    """Plan a job file. `sample` items are shown, spread evenly over all. Raises JobRefused."""
    file_sync = JobFileSync(store, JobFolders(config.paths.inbox))
    catalogue = ModelCatalogue.from_config(config)
    admission = Admission.from_config(config, store, catalogue, file_sync, time.time, secrets.randbits)
    job = admission.preview(source, name)
    items = [item for item in job.items if not item.is_last]  # without the sheet of a series
    counts: dict[str, Counter[str]] = {}
    files: dict[str, str] = {}
    for item in items:
        files |= item.settings.get("template_files", {})
        for choice, value in _recipe(item.settings).get("choices", {}).items():
            counts.setdefault(choice, Counter())[value] += 1
    step = max(1, len(items) // sample) if sample else len(items)
    return JobPreview(
        name=job.name,
        kind=job.kind,
        images=len(items),
        seconds=_estimate_seconds(store, [_recipe(item.settings) for item in items]),
        choices={choice: dict(values.most_common()) for choice, values in counts.items()},
        template_files=files,
        sample=[_previewed(item) for item in items[::step][:sample]],
    )


def _previewed(item: NewJobItem) -> PreviewedItem:
    recipe = _recipe(item.settings)
    return PreviewedItem(
        index=item.index,
        seed=item.seed,
        path=os.fsdecode(item.path).encode("utf-8", "replace").decode(),
        prompt=recipe.get("prompt", ""),
        negative_prompt=recipe.get("negative_prompt", ""),
        width=recipe.get("width"),
        height=recipe.get("height"),
        choices=recipe.get("choices", {}),
    )


def _recipe(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    recipe: Mapping[str, Any] = settings.get("recipe", {})
    return recipe


def _estimate_seconds(store: IndexStore, recipes: list[Mapping[str, Any]]) -> float | None:
    """The median time a step and pixel of finished items of the same kind and stages, for all steps and pixels to come."""
    rates: dict[tuple[str, ...], list[float]] = {}
    for recipe, seconds in _finished_items(store):
        rates.setdefault(_work_kind(recipe), []).append(seconds / _work(recipe))
    total = 0.0
    for recipe in recipes:
        known = rates.get(_work_kind(recipe))
        if known is None:
            return None
        total += statistics.median(known) * _work(recipe)
    return round(total, 1)


def _finished_items(store: IndexStore) -> Iterator[tuple[Mapping[str, Any], float]]:
    """Recipes and times of the newest finished items."""
    left = TIMED_ITEMS
    for job in store.jobs.list((JobState.DONE,), TIMED_JOBS):
        for item in store.jobs.items(job.id):
            if item.seconds is not None and item.state is JobState.DONE and left:
                left -= 1
                yield _recipe(item.settings), item.seconds


def _work_kind(recipe: Mapping[str, Any]) -> tuple[str, ...]:
    return (recipe.get("kind", ""), *(stage["stage"] for stage in recipe.get("stages", ())))


def _work(recipe: Mapping[str, Any]) -> float:
    return max(1.0, float(recipe.get("width", 1)) * float(recipe.get("height", 1)) * float(recipe.get("steps", 1)))
