"""Carries a plan out: candidates from every probe, exact scores for all of them in all layers, fused, ranked, shown."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from indexd.search.calibrate import Background, fulltext_scores, match_share
from indexd.search.cutoff import cutoff_of
from indexd.search.embedder import Embedder
from indexd.search.likeness import farthest, nearest, scores
from indexd.search.overlap import deviations
from indexd.search.parallel import parallel
from indexd.search.plan import Plan, Planner, Probe, Words
from indexd.search.present import image_of, present_file
from indexd.search.ranking import Column, Ranking
from indexd.search.samples import Samples
from indexd.store.index import Store
from indexd.store.records import ImageRow
from indexd_schemas.output import Answer, Hit, ScorePart
from indexd_schemas.question import Question, SortOrder

# So many candidates of each layer stand for choice, or twice as many as are asked for. Measured at a million pictures, three
# layers and words: the 20 shown are the same for 150, 200 and 1000, and of 120 .999 are.
CANDIDATES = 150
MOST_CANDIDATES = 4096
FULLTEXT_HITS = 1000
MATCH_SAMPLE = 1000


@dataclass(frozen=True, slots=True)
class _Found:
    """The hits, what the cut-off was, and what it did."""

    hits: list[Hit]
    cutoff: float | None = None
    left_out: int = 0
    notes: tuple[str, ...] = ()


class Search:
    """Answers questions over the index. Safe to use from several threads."""

    def __init__(self, store: Store, embed: Embedder, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._embed = embed
        self._samples = Samples(store, clock)

    def query(self, question: Question) -> Answer:
        """The hits, best first. Raises UsageError for a wrong filter, IndexdError when no term can be used."""
        started = time.perf_counter()
        plan = Planner(self._store, self._embed).plan(question)
        considered = self._considered(plan)
        if not plan.probes and not plan.words:
            found = _Found(self._sorted_hits(plan, question.limit))
        elif considered:
            found = self._ranked_hits(plan, question, considered)
        else:
            found = _Found([])
        return Answer(
            hits=found.hits,
            considered=considered,
            seconds=round(time.perf_counter() - started, 6),
            cutoff=found.cutoff,
            left_out=found.left_out,
            notes=[*plan.notes, *self._limit_notes(plan, question.limit), *found.notes],
        )

    def _limit_notes(self, plan: Plan, limit: int) -> list[str]:
        if plan.probes and limit > MOST_CANDIDATES:
            return [f"likeness ranks the best {MOST_CANDIDATES} pictures of each layer; the others are left out"]
        return []

    def _sorted_hits(self, plan: Plan, limit: int) -> list[Hit]:
        order: SortOrder = plan.sort
        assert order != "score"
        wanted = limit
        while True:
            ids = self._store.filters.sorted_ids(order, plan.among, wanted)
            rows = self._visible(ids, plan, limit)
            if len(rows) >= limit or len(ids) < wanted:
                return [Hit(rank=rank, image=image_of(row)) for rank, row in enumerate(rows, 1)]
            wanted *= 4

    def _ranked_hits(self, plan: Plan, question: Question, considered: int) -> _Found:
        limit = question.limit
        scales = [self._samples.background(probe) for probe in plan.probes]
        ranked = self._rank(plan, scales, limit)
        least = min([considered, *(s.count for p, s in zip(plan.probes, scales, strict=True) if p.weight > 0)])
        cutoff = cutoff_of(question, attracts=plan.attracts, pictures=least)
        fitting = [image_id for image_id in ranked.best if cutoff.passes(ranked.standing(image_id))]
        rows = self._visible(fitting, plan, limit)
        if plan.sort != "score":
            rows = sorted(rows, key=_SORT_KEYS[plan.sort])
        hits = [
            Hit(
                rank=rank,
                score=round(ranked.standing(row.id).score, 4),
                scores={label: round(score, 4) for label, score in ranked.plain(row.id).items()},
                parts=_parts(plan, ranked, row.id) if question.explain else None,
                image=image_of(row),
            )
            for rank, row in enumerate(rows, 1)
        ]
        top = [ranked.standing(image_id) for image_id in ranked.best[:limit]]
        shown = min(len(fitting), len(top))
        return _Found(hits, cutoff.least, len(top) - shown, tuple(cutoff.notes(top, shown)))

    def _visible(self, ids: Sequence[int], plan: Plan, limit: int) -> list[ImageRow]:
        """The first `limit` rows in the order of `ids` that lie somewhere (or that were asked for as missing)."""
        found: list[ImageRow] = []
        # A row is a tenth of a millisecond, and nearly all of them are there: no more than needed at first.
        step = max(limit, 10)
        for start in range(0, len(ids), step):
            chunk = ids[start : start + step]
            rows = self._store.images.rows(chunk)
            present = (rows[image_id] for image_id in chunk if image_id in rows)
            found += [row for row in present if plan.with_missing or present_file(row) is not None]
            if len(found) >= limit:
                break
        return found[:limit]

    def _rank(self, plan: Plan, scales: Sequence[Background], limit: int) -> Ranking:
        answers = parallel(
            [
                *(partial(self._nearest, plan, probe, limit) for probe in plan.probes),
                *(partial(self._matches, plan, words, limit) for words in plan.words),
            ]
        )
        found, matched = answers[: len(plan.probes)], answers[len(plan.probes) :]
        ids = list(dict.fromkeys(image_id for hits in (*found, *matched) for image_id in hits))
        columns = parallel(
            [
                partial(self._by_layer, probe, scale, near, ids)
                for probe, scale, near in zip(plan.probes, scales, found, strict=True)
            ]
        )
        columns += [
            self._by_words(words, bm25, self._share(plan, words, bm25, limit))
            for words, bm25 in zip(plan.words, matched, strict=True)
        ]
        return Ranking(ids, columns, deviations(self._samples, plan, scales), words_alone=plan.words_alone)

    def _nearest(self, plan: Plan, probe: Probe, limit: int) -> dict[int, float]:
        """Candidates of one probe. What a probe pushes away brings no candidates, unless nothing else does."""
        attracts = any(one.weight > 0 for one in plan.probes) or any(one.weight > 0 for one in plan.words)
        if probe.weight <= 0 and attracts:
            return {}
        wanted = min(max(2 * limit, CANDIDATES), MOST_CANDIDATES)
        find = nearest if probe.weight > 0 else farthest
        return find(self._store, probe.layer, probe.vector, wanted, plan.among, sure=limit)

    def _matches(self, plan: Plan, words: Words, limit: int) -> dict[int, float]:
        return dict(self._store.fulltext.match(words.text, max(FULLTEXT_HITS, limit), plan.among, words.columns))

    def _by_layer(self, probe: Probe, scale: Background, near: dict[int, float], ids: Sequence[int]) -> Column:
        others = [image_id for image_id in ids if image_id not in near]
        cosines = near | (scores(self._store, probe.layer, probe.vector, others) if others else {})
        z = scale.z(np.fromiter(cosines.values(), dtype=np.float64, count=len(cosines)))
        return Column(probe.label, probe.weight, cosines, dict(zip(cosines, z.tolist(), strict=True)), 0.0)

    def _share(self, plan: Plan, words: Words, bm25: dict[int, float], limit: int) -> float:
        """Which share of those who may appear match; estimated from the newest where not every hit was fetched."""
        if len(bm25) < max(FULLTEXT_HITS, limit):
            return match_share(len(bm25), self._considered(plan))
        newest = self._store.filters.sorted_ids("newest", plan.among, MATCH_SAMPLE)
        return match_share(
            len(self._store.fulltext.match(words.text, MATCH_SAMPLE, newest, words.columns)), len(newest)
        )

    def _considered(self, plan: Plan) -> int:
        return self._store.images.count() if plan.among is None else len(plan.among)

    def _by_words(self, words: Words, bm25: dict[int, float], share: float) -> Column:
        known, miss = fulltext_scores(bm25, share)
        # Words that nobody wrote tell nothing, and would only water down what the vectors say.
        return Column(words.label, words.weight if bm25 else 0.0, bm25, known, miss, words=True)


def _parts(plan: Plan, ranked: Ranking, image_id: int) -> list[ScorePart]:
    parts: tuple[Probe | Words, ...] = (*plan.probes, *plan.words)
    plain = ranked.plain(image_id)
    return [
        ScorePart(
            term=part.asked,
            layer=part.label,
            weight=part.weight,
            plain=round(plain[part.label], 4) if part.label in plain else None,
            z=round(z, 4),
        )
        for part, z in zip(parts, ranked.calibrated(image_id), strict=True)
    ]


def _newest(row: ImageRow) -> tuple[float, int]:
    return (-(row.created_at or row.added_at), -row.id)


def _oldest(row: ImageRow) -> tuple[float, int]:
    return (row.created_at or row.added_at, row.id)


def _best_rated(row: ImageRow) -> tuple[int, float, int]:
    return (-(row.rating or 0), *_newest(row))


def _best_scored(name: str) -> Callable[[ImageRow], tuple[float, ...]]:
    def key(row: ImageRow) -> tuple[float, ...]:
        value = next((one.value for one in row.scores if one.name == name), -math.inf)
        return (-value, *_newest(row))

    return key


_SORT_KEYS: dict[str, Callable[[ImageRow], tuple[float, ...]]] = {
    "newest": _newest,
    "oldest": _oldest,
    "rating": _best_rated,
    "clip_score": _best_scored("clip"),
    "aesthetic": _best_scored("aesthetic"),
    "sharpness": _best_scored("sharpness"),
}
