"""Carries a plan out: candidates from every probe, exact scores for all of them in all layers, fused, ranked, shown."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from indexd.search.query.query_embedder import QueryEmbedder
from indexd.search.query.search_plan import SearchPlan, SearchPlanner, TextTerm, VectorTerm
from indexd.search.ranking.background_samples import BackgroundSamples
from indexd.search.ranking.calibration import Background, fulltext_z_scores, match_share
from indexd.search.ranking.cutoff import choose_cutoff
from indexd.search.ranking.layer_correlation import fused_deviations
from indexd.search.ranking.layer_similarity import exact_cosines, farthest_images, nearest_images
from indexd.search.ranking.ranking import Ranking, ScoreColumn
from indexd.search.serialization import find_present_file, serialize_image
from indexd.store.protocols import IndexStore
from indexd.store.records import ImageRow
from indexd.vector_index.parallel import run_parallel
from indexd_schemas.api.output import ScoreContribution, SearchHit, SearchResults
from indexd_schemas.api.requests import SearchRequest, SortOrder

# So many candidates of each layer stand for choice, or twice as many as are asked for. Measured at a million pictures, three
# layers and words: the 20 shown are the same for 150, 200 and 1000, and of 120 .999 are.
MIN_CANDIDATES = 150
MAX_CANDIDATES = 4096
FULLTEXT_HITS = 1000
MATCH_SAMPLE_SIZE = 1000


@dataclass(frozen=True, slots=True)
class _RankedHits:
    """The hits, what the cut-off was, and what it did."""

    hits: list[SearchHit]
    cutoff: float | None = None
    cut_off_count: int = 0
    notes: tuple[str, ...] = ()


class Search:
    """Answers questions over the index. Safe to use from several threads."""

    def __init__(self, store: IndexStore, embedder: QueryEmbedder, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._embedder = embedder
        self._samples = BackgroundSamples(store, clock)

    def query(self, request: SearchRequest) -> SearchResults:
        """The hits, best first. Raises UsageError for a wrong filter, IndexdError when no term can be used."""
        started = time.perf_counter()
        plan = SearchPlanner(self._store, self._embedder).plan(request)
        considered = self._candidate_count(plan)
        if not plan.vector_terms and not plan.text_terms:
            found = _RankedHits(self._sorted_hits(plan, request.limit))
        elif considered:
            found = self._ranked_hits(plan, request, considered)
        else:
            found = _RankedHits([])
        return SearchResults(
            hits=found.hits,
            candidate_count=considered,
            seconds=round(time.perf_counter() - started, 6),
            cutoff=found.cutoff,
            cut_off_count=found.cut_off_count,
            notes=[*plan.notes, *self._limit_notes(plan, request.limit), *found.notes],
        )

    def _limit_notes(self, plan: SearchPlan, limit: int) -> list[str]:
        if plan.vector_terms and limit > MAX_CANDIDATES:
            return [f"likeness ranks the best {MAX_CANDIDATES} images of each layer; the others are left out"]
        return []

    def _sorted_hits(self, plan: SearchPlan, limit: int) -> list[SearchHit]:
        order: SortOrder = plan.sort
        assert order != "score"
        wanted = limit
        while True:
            ids = self._store.filters.sorted_ids(order, plan.allowed_ids, wanted)
            rows = self._visible_rows(ids, plan, limit)
            if len(rows) >= limit or len(ids) < wanted:
                return [SearchHit(rank=rank, image=serialize_image(row)) for rank, row in enumerate(rows, 1)]
            wanted *= 4

    def _ranked_hits(self, plan: SearchPlan, request: SearchRequest, candidate_count: int) -> _RankedHits:
        limit = request.limit
        scales = [self._samples.background(probe) for probe in plan.vector_terms]
        ranked = self._rank(plan, scales, limit)
        least = min(
            [candidate_count, *(s.count for p, s in zip(plan.vector_terms, scales, strict=True) if p.weight > 0)]
        )
        cutoff = choose_cutoff(request, has_positive_terms=plan.has_positive_terms, image_count=least)
        fitting = [image_id for image_id in ranked.ranked_ids if cutoff.passes(ranked.score_of(image_id))]
        rows = self._visible_rows(fitting, plan, limit)
        if plan.sort != "score":
            rows = sorted(rows, key=_SORT_KEYS[plan.sort])
        hits = [
            SearchHit(
                rank=rank,
                score=round(ranked.score_of(row.id).score, 4),
                scores={label: round(score, 4) for label, score in ranked.raw_scores_of(row.id).items()},
                parts=_score_parts(plan, ranked, row.id) if request.explain else None,
                image=serialize_image(row),
            )
            for rank, row in enumerate(rows, 1)
        ]
        top = [ranked.score_of(image_id) for image_id in ranked.ranked_ids[:limit]]
        shown = min(len(fitting), len(top))
        return _RankedHits(hits, cutoff.threshold, len(top) - shown, tuple(cutoff.notes(top, shown)))

    def _visible_rows(self, ids: Sequence[int], plan: SearchPlan, limit: int) -> list[ImageRow]:
        """The first `limit` rows in the order of `ids` that lie somewhere (or that were asked for as missing)."""
        found: list[ImageRow] = []
        # A row is a tenth of a millisecond, and nearly all of them are there: no more than needed at first.
        step = max(limit, 10)
        for start in range(0, len(ids), step):
            chunk = ids[start : start + step]
            rows = self._store.images.rows(chunk)
            present = (rows[image_id] for image_id in chunk if image_id in rows)
            found += [row for row in present if plan.include_missing or find_present_file(row) is not None]
            if len(found) >= limit:
                break
        return found[:limit]

    def _rank(self, plan: SearchPlan, backgrounds: Sequence[Background], limit: int) -> Ranking:
        answers = run_parallel(
            [
                *(partial(self._vector_candidates, plan, probe, limit) for probe in plan.vector_terms),
                *(partial(self._text_candidates, plan, words, limit) for words in plan.text_terms),
            ]
        )
        found, matched = answers[: len(plan.vector_terms)], answers[len(plan.vector_terms) :]
        ids = list(dict.fromkeys(image_id for hits in (*found, *matched) for image_id in hits))
        columns = run_parallel(
            [
                partial(self._vector_column, probe, scale, near, ids)
                for probe, scale, near in zip(plan.vector_terms, backgrounds, found, strict=True)
            ]
        )
        columns += [
            self._text_column(words, bm25, self._match_share(plan, words, bm25, limit))
            for words, bm25 in zip(plan.text_terms, matched, strict=True)
        ]
        return Ranking(
            ids, columns, fused_deviations(self._samples, plan, backgrounds), text_terms_only=plan.text_terms_only
        )

    def _vector_candidates(self, plan: SearchPlan, term: VectorTerm, limit: int) -> dict[int, float]:
        """Candidates of one probe. What a probe pushes away brings no candidates, unless nothing else does."""
        attracts = any(one.weight > 0 for one in plan.vector_terms) or any(one.weight > 0 for one in plan.text_terms)
        if term.weight <= 0 and attracts:
            return {}
        wanted = min(max(2 * limit, MIN_CANDIDATES), MAX_CANDIDATES)
        find = nearest_images if term.weight > 0 else farthest_images
        return find(self._store, term.layer, term.vector, wanted, plan.allowed_ids, guaranteed_top_k=limit)

    def _text_candidates(self, plan: SearchPlan, term: TextTerm, limit: int) -> dict[int, float]:
        return dict(self._store.fulltext.match(term.text, max(FULLTEXT_HITS, limit), plan.allowed_ids, term.columns))

    def _vector_column(
        self, term: VectorTerm, background: Background, known_cosines: dict[int, float], ids: Sequence[int]
    ) -> ScoreColumn:
        others = [image_id for image_id in ids if image_id not in known_cosines]
        cosines = known_cosines | (exact_cosines(self._store, term.layer, term.vector, others) if others else {})
        z = background.z_scores(np.fromiter(cosines.values(), dtype=np.float64, count=len(cosines)))
        return ScoreColumn(term.label, term.weight, cosines, dict(zip(cosines, z.tolist(), strict=True)), 0.0)

    def _match_share(self, plan: SearchPlan, term: TextTerm, bm25: dict[int, float], limit: int) -> float:
        """Which share of those who may appear match; estimated from the newest where not every hit was fetched."""
        if len(bm25) < max(FULLTEXT_HITS, limit):
            return match_share(len(bm25), self._candidate_count(plan))
        newest = self._store.filters.sorted_ids("newest", plan.allowed_ids, MATCH_SAMPLE_SIZE)
        return match_share(
            len(self._store.fulltext.match(term.text, MATCH_SAMPLE_SIZE, newest, term.columns)), len(newest)
        )

    def _candidate_count(self, plan: SearchPlan) -> int:
        return self._store.images.count() if plan.allowed_ids is None else len(plan.allowed_ids)

    def _text_column(self, term: TextTerm, bm25: dict[int, float], share: float) -> ScoreColumn:
        known, miss = fulltext_z_scores(bm25, share)
        # Words that nobody wrote tell nothing, and would only water down what the vectors say.
        return ScoreColumn(term.label, term.weight if bm25 else 0.0, bm25, known, miss, is_text=True)


def _score_parts(plan: SearchPlan, ranked: Ranking, image_id: int) -> list[ScoreContribution]:
    parts: tuple[VectorTerm | TextTerm, ...] = (*plan.vector_terms, *plan.text_terms)
    plain = ranked.raw_scores_of(image_id)
    return [
        ScoreContribution(
            term=part.cli_text,
            layer=part.label,
            weight=part.weight,
            raw=round(plain[part.label], 4) if part.label in plain else None,
            z=round(z, 4),
        )
        for part, z in zip(parts, ranked.z_scores_of(image_id), strict=True)
    ]


def _newest_key(row: ImageRow) -> tuple[float, int]:
    return (-(row.created_at or row.added_at), -row.id)


def _oldest_key(row: ImageRow) -> tuple[float, int]:
    return (row.created_at or row.added_at, row.id)


def _rating_key(row: ImageRow) -> tuple[int, float, int]:
    return (-(row.rating or 0), *_newest_key(row))


def _score_key(name: str) -> Callable[[ImageRow], tuple[float, ...]]:
    def key(row: ImageRow) -> tuple[float, ...]:
        value = next((one.value for one in row.scores if one.name == name), -math.inf)
        return (-value, *_newest_key(row))

    return key


_SORT_KEYS: dict[str, Callable[[ImageRow], tuple[float, ...]]] = {
    "newest": _newest_key,
    "oldest": _oldest_key,
    "rating": _rating_key,
    "clip_score": _score_key("clip"),
    "aesthetic": _score_key("aesthetic"),
    "sharpness": _score_key("sharpness"),
}
