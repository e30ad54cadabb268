"""Pictures that took the place of one with a rating, tags or a note: compared by a decode worker, then told to the index."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from indexd.indexing.stages import REPLACEMENT
from indexd.store.protocols import IndexStorage
from indexd.worker.calls import ComparedImage, CompareImages, ImagesCompared

log = logging.getLogger(__name__)

MISSING_IMAGE_RETRY_SECONDS = 600.0
NO_FILE_REASON = "no file of this picture is present at the moment"


def build_call(
    store: IndexStorage, ids: Sequence[int], folder: str, size_px: int
) -> tuple[Mapping[int, Sequence[int]], CompareImages]:
    """The candidates of each image (those without any are left out), and the call that compares them all, in order."""
    candidates = store.replacements.candidates(ids)
    every = sorted({*candidates, *(old for olds in candidates.values() for old in olds)})
    hashes, paths = store.images.content_hashes(every), store.images.paths(every)
    looks = {image_id: ComparedImage(image_id, hashes[image_id], paths.get(image_id)) for image_id in every}
    ordered = {image_id: candidates[image_id] for image_id in ids if image_id in candidates}
    pairs = tuple((looks[old], looks[new]) for new, olds in ordered.items() for old in olds)
    return ordered, CompareImages(pairs, folder, size_px)


def store_result(store: IndexStorage, call: CompareImages, result: ImagesCompared, now: float) -> None:
    """Copy the marks where it is the same picture, and let go of the candidates.

    A new picture that cannot be looked at (its file is away) waits. An old one that left no thumbnail cannot be compared:
    its marks stay where they are, with the old content, and people are told.
    """
    verdicts: dict[int, dict[int, bool]] = {}
    waiting: set[int] = set()
    unseen = 0
    for (old, new), verdict in zip(call.pairs, result.verdicts, strict=True):
        if verdict == "unseen new":
            waiting.add(new.image_id)
            continue
        unseen += verdict == "unseen old"
        verdicts.setdefault(new.image_id, {})[old.image_id] = verdict is True
    kept = store.replacements.settle(verdicts)
    for image_id in waiting:
        store.index_tasks.mark_blocked(
            REPLACEMENT, image_id, NO_FILE_REASON, retry_at=now + MISSING_IMAGE_RETRY_SECONDS
        )
    if kept:
        _log_event(store, f"{kept} edited files are the pictures they were: rating, tags and note are kept")
    if unseen:
        what = "what lay there left no thumbnail to compare: its marks stay with the old content"
        _log_event(store, f"{unseen} files were written over, and {what}")


def _log_event(store: IndexStorage, text: str) -> None:
    log.info("%s", text)
    store.events.add("succession", text)
