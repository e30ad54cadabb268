"""Suggests which of several duplicates to keep, with the reason. Changes no files."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from indexd.search.serialization import find_present_file
from indexd.store.records import FileRow, ImageRow

_LOSSLESS = frozenset(("PNG", "APNG", "BMP", "TIFF"))
_COPY_NAME = re.compile(rb"(?:\(\d+\)|[ _-]+copy(?:[ _-]*\d+)?|[ _-]+kopie(?:[ _-]*\d+)?)\.[A-Za-z]+$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _KeepRule:
    """The row with the highest `rank` is kept; `reason` describes it."""

    rank: Callable[[ImageRow], float]
    reason: Callable[[ImageRow], str]


def _pixels(row: ImageRow) -> float:
    return row.width * row.height


def _has_recipe(row: ImageRow) -> float:
    return row.prompt is not None or row.seed is not None


def _created_at(row: ImageRow) -> float:
    file = find_present_file(row)
    return file.stamp.mtime_ns / 1e9 if file is not None else row.added_at


_RULES = (
    _KeepRule(lambda row: row.rating or 0, lambda row: f"rated {row.rating}"),
    _KeepRule(lambda row: bool(row.tags or row.note), lambda _row: "has tags or a note"),
    # Before the size: the original can be upscaled again, but an enlarged copy without a recipe gives no original.
    _KeepRule(_has_recipe, lambda _row: "has the original metadata"),
    _KeepRule(_pixels, lambda row: f"larger ({row.width}x{row.height})"),
    _KeepRule(lambda row: row.format.upper() in _LOSSLESS, lambda row: f"lossless ({row.format})"),
    _KeepRule(lambda row: row.byte_count, lambda _row: "less compressed"),
    _KeepRule(lambda row: -_created_at(row), lambda _row: "older"),
    _KeepRule(lambda row: -row.id, lambda _row: "indexed first"),
)


def choose_image_to_keep(rows: Sequence[ImageRow]) -> tuple[ImageRow, str]:
    """The image to keep of at least two, and the reason that decides between it and the second best."""
    ordered = sorted(rows, key=lambda row: tuple(-rule.rank(row) for rule in _RULES))
    best, next_best = ordered[0], ordered[1]
    decisive = next(rule for rule in _RULES if rule.rank(best) != rule.rank(next_best))
    return best, decisive.reason(best)


def choose_file_to_keep(files: Sequence[FileRow]) -> tuple[FileRow, str]:
    """The file to keep of at least two with the same bytes, and why."""
    rules: tuple[tuple[Callable[[FileRow], float], str], ...] = (
        (lambda file: bool(_COPY_NAME.search(file.rel)), "not named as a copy"),
        (lambda file: file.stamp.mtime_ns, "older"),
        (lambda file: file.id, "indexed first"),
    )
    ordered = sorted(files, key=lambda file: tuple(rank(file) for rank, _ in rules))
    best, next_best = ordered[0], ordered[1]
    return best, next(reason for rank, reason in rules if rank(best) != rank(next_best))
