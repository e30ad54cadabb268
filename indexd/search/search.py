"""Runs search plans: finds candidates for each term, scores all of them in all layers, fuses the scores and ranks."""

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
from indexd.search.text_matches import find_text_matches
from indexd.store.protocols import IndexStore
from indexd.store.records import ImageRow, OverwrittenFile
from indexd.vector_index.parallel import run_parallel
from indexd_schemas.api.output import ScoreContribution, SearchHit, SearchResults, TextMatch
from indexd_schemas.api.requests import SearchRequest, SortOrder

# The number of candidates of each layer, unless twice the limit is more. Measured with a million images, three layers and
# text: the first 20 hits are the same for 150, 200 and 1000 candidates, and 99.9 % of the first 120.
MIN_CANDIDATES = 150
MAX_CANDIDATES = 4096
FULLTEXT_HITS = 1000
MATCH_SAMPLE_SIZE = 1000


@dataclass(frozen=True, slots=True)
class _RankedHits:
    """The hits, the cut-off, and the number of images that only the cut-off excluded."""

    hits: list[SearchHit]
    cutoff: float | None = None
    cut_off_count: int = 0
    notes: tuple[str, ...] = ()


class Search:
    """Searches the index. Thread-safe."""

    def __init__(self, store: IndexStore, embedder: QueryEmbedder, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._embedder = embedder
        self._samples = BackgroundSamples(store, clock)

    def query(self, request: SearchRequest) -> SearchResults:
        """The hits, best first. Raises UsageError for an invalid filter, IndexdError when no term can be used."""
        started = time.perf_counter()
        plan = SearchPlanner(self._store, self._embedder).plan(request)
        candidate_count = self._candidate_count(plan)
        if not plan.vector_terms and not plan.text_terms:
            found = _RankedHits(self._sorted_hits(plan, request.limit))
        elif candidate_count:
            found = self._ranked_hits(plan, request, candidate_count)
        else:
            found = _RankedHits([])
        return SearchResults(
            hits=found.hits,
            candidate_count=candidate_count,
            seconds=round(time.perf_counter() - started, 6),
            cutoff=found.cutoff,
            cut_off_count=found.cut_off_count,
            notes=[*plan.notes, *self._limit_notes(plan, request.limit), *found.notes],
        )

    def _limit_notes(self, plan: SearchPlan, limit: int) -> list[str]:
        if plan.vector_terms and limit > MAX_CANDIDATES:
            return [f"only the best {MAX_CANDIDATES} images of each layer are ranked; the others are left out"]
        return []

    def _sorted_hits(self, plan: SearchPlan, limit: int) -> list[SearchHit]:
        order: SortOrder = plan.sort
        assert order != "score"
        count = limit
        while True:
            ids = self._store.filters.sorted_ids(order, plan.allowed_ids, count)
            rows = self._visible_rows(ids, plan, limit)
            if len(rows) >= limit or len(ids) < count:
                matches, overwritten = self._text_matches(plan, rows), self._overwritten(rows)
                return [
                    SearchHit(rank=rank, matches=matches[row.id], image=serialize_image(row, overwritten.get(row.id)))
                    for rank, row in enumerate(rows, 1)
                ]
            count *= 4

    def _ranked_hits(self, plan: SearchPlan, request: SearchRequest, candidate_count: int) -> _RankedHits:
        limit = request.limit
        backgrounds = [self._samples.background(term) for term in plan.vector_terms]
        ranked = self._rank(plan, backgrounds, limit)
        sizes = [one.count for term, one in zip(plan.vector_terms, backgrounds, strict=True) if term.weight > 0]
        cutoff = choose_cutoff(
            request, has_positive_terms=plan.has_positive_terms, image_count=min([candidate_count, *sizes])
        )
        matching = [image_id for image_id in ranked.ranked_ids if cutoff.passes(ranked.score_of(image_id))]
        rows = self._visible_rows(matching, plan, limit)
        if plan.sort != "score":
            rows = sorted(rows, key=_SORT_KEYS[plan.sort])
        matches, overwritten = self._text_matches(plan, rows), self._overwritten(rows)
        hits = [
            SearchHit(
                rank=rank,
                score=round(ranked.score_of(row.id).score, 4),
                scores={label: round(score, 4) for label, score in ranked.raw_scores_of(row.id).items()},
                parts=_score_parts(plan, ranked, row.id) if request.explain else None,
                matches=matches[row.id],
                image=serialize_image(row, overwritten.get(row.id)),
            )
            for rank, row in enumerate(rows, 1)
        ]
        top = [ranked.score_of(image_id) for image_id in ranked.ranked_ids[:limit]]
        shown = min(len(matching), len(top))
        return _RankedHits(hits, cutoff.threshold, len(top) - shown, tuple(cutoff.notes(top, shown)))

    def _text_matches(self, plan: SearchPlan, rows: Sequence[ImageRow]) -> dict[int, list[TextMatch]]:
        return find_text_matches(self._store, [row.id for row in rows], plan.sought_words)

    def _overwritten(self, rows: Sequence[ImageRow]) -> dict[int, OverwrittenFile]:
        without_file = [row.id for row in rows if not row.files]
        return self._store.files.overwritten(without_file) if without_file else {}

    def _visible_rows(self, ids: Sequence[int], plan: SearchPlan, limit: int) -> list[ImageRow]:
        """The first `limit` rows in the order of `ids`, without images that have no present file unless the plan includes them."""
        found: list[ImageRow] = []
        # Reading a row takes 0.1 ms and nearly all images have a file, so the first chunk is as small as the limit.
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
        results = run_parallel(
            [
                *(partial(self._vector_candidates, plan, term, limit) for term in plan.vector_terms),
                *(partial(self._text_candidates, plan, term, limit) for term in plan.text_terms),
            ]
        )
        found, matched = results[: len(plan.vector_terms)], results[len(plan.vector_terms) :]
        ids = list(dict.fromkeys(image_id for hits in (*found, *matched) for image_id in hits))
        columns = run_parallel(
            [
                partial(self._vector_column, term, background, cosines, ids)
                for term, background, cosines in zip(plan.vector_terms, backgrounds, found, strict=True)
            ]
        )
        columns += [
            self._text_column(term, bm25, self._match_share(plan, term, bm25, limit))
            for term, bm25 in zip(plan.text_terms, matched, strict=True)
        ]
        return Ranking(
            ids, columns, fused_deviations(self._samples, plan, backgrounds), text_terms_only=plan.text_terms_only
        )

    def _vector_candidates(self, plan: SearchPlan, term: VectorTerm, limit: int) -> dict[int, float]:
        """The candidates of one term with their cosines. A negative term adds candidates only if there is no positive term."""
        if term.weight <= 0 and plan.has_positive_terms:
            return {}
        count = min(max(2 * limit, MIN_CANDIDATES), MAX_CANDIDATES)
        find = nearest_images if term.weight > 0 else farthest_images
        return find(self._store, term.layer, term.vector, count, plan.allowed_ids, guaranteed_top_k=limit)

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
        """The share of the allowed images that match; estimated from the newest images if not every hit was read."""
        if len(bm25) < max(FULLTEXT_HITS, limit):
            return match_share(len(bm25), self._candidate_count(plan))
        newest = self._store.filters.sorted_ids("newest", plan.allowed_ids, MATCH_SAMPLE_SIZE)
        return match_share(
            len(self._store.fulltext.match(term.text, MATCH_SAMPLE_SIZE, newest, term.columns)), len(newest)
        )

    def _candidate_count(self, plan: SearchPlan) -> int:
        return self._store.images.count() if plan.allowed_ids is None else len(plan.allowed_ids)

    def _text_column(self, term: TextTerm, bm25: dict[int, float], share: float) -> ScoreColumn:
        z_scores, miss = fulltext_z_scores(bm25, share)
        # A term without any match carries no information and would only weaken the vector terms.
        return ScoreColumn(term.label, term.weight if bm25 else 0.0, bm25, z_scores, miss, is_text=True)


def _score_parts(plan: SearchPlan, ranked: Ranking, image_id: int) -> list[ScoreContribution]:
    terms: tuple[VectorTerm | TextTerm, ...] = (*plan.vector_terms, *plan.text_terms)
    raw_scores = ranked.raw_scores_of(image_id)
    return [
        ScoreContribution(
            term=term.cli_text,
            layer=term.label,
            weight=term.weight,
            raw=round(raw_scores[term.label], 4) if term.label in raw_scores else None,
            z=round(z, 4),
        )
        for term, z in zip(terms, ranked.z_scores_of(image_id), strict=True)
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
