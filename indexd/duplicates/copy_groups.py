"""Splits images with near perceptual hashes into copies of one image, and variations of it.

A worker compares pixels; images with different recipes are never compared, because they are no copies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from indexd.duplicates.hash_similarity import NEAR_LIMITS, proposal_limits
from indexd.duplicates.near_duplicates import HashNeighbours, near_hash_groups
from indexd.duplicates.recipe_difference import differing_settings
from indexd.search.serialization import find_present_file
from indexd.store.protocols import IndexStore
from indexd.store.records import HashedImages, ImageRow
from indexd.worker.calls import CompareCopies, CopiesCompared, CopyCandidate, CopyVerdict

CompareFunction = Callable[[CompareCopies], CopiesCompared]

PAIRS_PER_CALL = 32
MAX_PAIRS = 20_000
"""Pairs whose pixels are compared for one report; each takes 20 to 80 ms."""
ROWS_PER_READ = 1000


@dataclass(frozen=True, slots=True)
class CopiesAndVariations:
    """Groups of image ids: `copies` show one image, `variations` look alike and are none.

    `not_compared` counts pairs of which no file and no thumbnail is there, and those beyond MAX_PAIRS.
    """

    copies: list[list[int]]
    variations: list[list[int]]
    not_compared: int


def find_copies(
    store: IndexStore, images: HashedImages, compare: CompareFunction, thumbnails: str
) -> CopiesAndVariations:
    """Compare the pixels of images with near hashes. Raises what `compare` raises."""
    if len(images.ids) < 2:
        return CopiesAndVariations([], [], 0)
    near = HashNeighbours(images, proposal_limits(len(images.ids)))
    search = _CopySearch(images, near, _read_rows(store, images.ids[near.rows].tolist()), compare, thumbnails)
    search.run()
    single = np.array([row for row in search.clusters if row not in search.unseen], np.int64)
    leaders = HashedImages(images.ids[single], images.hashes[single])
    variations = near_hash_groups(leaders, NEAR_LIMITS)
    return CopiesAndVariations(
        [[int(images.ids[row]) for row in (leader, *rows)] for leader, rows in search.clusters.items() if rows],
        [[int(leaders.ids[row]) for row in group] for group in variations],
        search.not_compared,
    )


class _CopySearch:
    """Clusters of copies around leaders: each image is compared with the leaders among its neighbours, best first."""

    def __init__(
        self,
        images: HashedImages,
        near: HashNeighbours,
        rows: dict[int, ImageRow],
        compare: CompareFunction,
        thumbnails: str,
    ) -> None:
        self.clusters: dict[int, list[int]] = {}
        self.unseen: set[int] = set()
        self.not_compared = 0
        self._near = near
        self._rows = {row: rows[image_id] for row in near.rows.tolist() if (image_id := int(images.ids[row])) in rows}
        self._compare = compare
        self._thumbnails = thumbnails
        self._pairs_left = MAX_PAIRS

    def run(self) -> None:
        """Each round compares the images around leaders that are no neighbours, so that the worker gets full calls."""
        waiting = dict.fromkeys(sorted(self._rows, key=lambda row: _rank(self._rows[row])))
        while waiting and self._pairs_left:
            taken: set[int] = set()
            pairs: list[tuple[int, int]] = []
            for leader in list(waiting):
                if leader in taken:
                    continue
                around = [row for row in self._near.of(leader) if row in waiting]
                taken.update(around)
                del waiting[leader]
                self.clusters[leader] = []
                own = self._rows[leader]
                pairs += ((leader, row) for row in around if not differing_settings(own, self._rows[row]))
            for leader, row in self._join(pairs):
                self.clusters[leader].append(row)
                waiting.pop(row, None)

    def _join(self, pairs: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """The pairs of (leader, row) that are copies; a row has one leader."""
        joined: set[int] = set()
        compared, beyond = pairs[: self._pairs_left], pairs[self._pairs_left :]
        self._pairs_left -= len(compared)
        self._note_unseen(beyond)
        for start in range(0, len(compared), PAIRS_PER_CALL):
            few = [pair for pair in compared[start : start + PAIRS_PER_CALL] if pair[1] not in joined]
            verdicts = self._compare(self._call(few)).verdicts if few else ()
            self._note_unseen(
                [pair for pair, verdict in zip(few, verdicts, strict=True) if verdict is CopyVerdict.UNSEEN]
            )
            for (leader, row), verdict in zip(few, verdicts, strict=True):
                if verdict is CopyVerdict.COPY and row not in joined:
                    joined.add(row)
                    yield leader, row

    def _note_unseen(self, pairs: list[tuple[int, int]]) -> None:
        self.not_compared += len(pairs)
        self.unseen.update(row for _, row in pairs)

    def _call(self, pairs: list[tuple[int, int]]) -> CompareCopies:
        places = {row: place for place, row in enumerate(dict.fromkeys(row for pair in pairs for row in pair))}
        images = tuple(_candidate(self._rows[row]) for row in places)
        return CompareCopies(images, tuple((places[one], places[other]) for one, other in pairs), self._thumbnails)


def settings_of_variations(rows: Sequence[ImageRow]) -> tuple[str, ...]:
    """The settings in which the first image differs from others; none where only pixels differ."""
    return tuple(dict.fromkeys(name for row in rows[1:] for name in differing_settings(rows[0], row)))


def _read_rows(store: IndexStore, ids: list[int]) -> dict[int, ImageRow]:
    rows: dict[int, ImageRow] = {}
    for start in range(0, len(ids), ROWS_PER_READ):
        rows.update(store.images.rows(ids[start : start + ROWS_PER_READ]))
    return rows


def _rank(row: ImageRow) -> tuple[bool, int, int]:
    """Images with a recipe first, then large ones: copies are compared with their original."""
    return row.seed is None and row.prompt is None, -row.width * row.height, row.id


def _candidate(row: ImageRow) -> CopyCandidate:
    file = find_present_file(row)
    return CopyCandidate(row.content_hash, row.format, (row.width, row.height), None if file is None else file.path)
