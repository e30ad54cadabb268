"""Computes the statistics of a request: counts by key, shares of five-star images, and prompt terms."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from functools import cache

from indexd.search.query.filter_language import parse_filters
from indexd.statistics.prompt_terms import TermOdds, count_terms, log_odds
from indexd.store.protocols import IndexStore
from indexd.store.records import ImageTotals, ValueCount
from indexd_schemas.api.library_reports import (
    CountTable,
    FiveStarRow,
    PromptTermRow,
    StatisticsCount,
    StatisticsReport,
    StatsKey,
    StatsRequest,
)

COMPARED_KEYS: tuple[StatsKey, ...] = ("model", "lora", "cfg", "steps", "sampler")
MIN_COMPARED = 5
"""Values of fewer images are not listed among the five-star shares."""
MAX_PROMPTS = 20_000
MIN_OTHERS = 10
MIN_Z = 1.96
"""Terms with a lower |z| are not listed; by chance alone, one in twenty reaches it."""


def compute_statistics(store: IndexStore, request: StatsRequest) -> StatisticsReport:
    """Raises UsageError for an invalid filter."""
    started = time.perf_counter()
    allowed_ids = store.filters.ids(parse_filters(request.filters))
    totals = store.statistics.totals(allowed_ids)
    mean = mean_rating(totals.stars)

    @cache  # two tables use models, LoRAs and samplers, and counting reads every image
    def value_counts(key: StatsKey) -> list[ValueCount]:
        return store.statistics.counts_by(key, allowed_ids)

    five = _five_star_rows(value_counts, totals, request)
    odds = _term_odds(store, allowed_ids, request) if totals.stars[4] else []
    return StatisticsReport(
        images=totals.images,
        rated=sum(totals.stars),
        mean_rating=None if mean is None else round(mean, 4),
        ratings={str(stars): count for stars, count in enumerate(totals.stars, 1)},
        first_at=totals.first_at,
        last_at=totals.last_at,
        tables=[
            _count_table(
                key, value_counts(key), store.statistics.count_with_value(key, allowed_ids), totals, request.limit
            )
            for key in dict.fromkeys(request.by)
        ],
        five_stars=five,
        terms_for=[_term_row(one) for one in odds if one.z >= MIN_Z][: request.limit],
        terms_against=[_term_row(one) for one in reversed(odds) if one.z <= -MIN_Z][: request.limit],
        seconds=round(time.perf_counter() - started, 6),
        notes=_notes(totals, request),
    )


def _count_table(
    key: StatsKey, value_counts: list[ValueCount], stated: int, totals: ImageTotals, limit: int
) -> CountTable:
    if key in ("month", "year"):
        shown = sorted(value_counts, key=lambda one: one.value)[-limit:]
    else:
        shown = value_counts[:limit]
    return CountTable(key=key, stated=stated, values=len(value_counts), rows=[_count_row(one, totals) for one in shown])


def _count_row(value_count: ValueCount, totals: ImageTotals) -> StatisticsCount:
    mean, of_all = mean_rating(value_count.stars), mean_rating(totals.stars)
    shrunk = shrunk_rating(value_count.stars, of_all) if mean is not None and of_all is not None else None
    return StatisticsCount(
        value=value_count.value,
        images=value_count.images,
        share=round(value_count.images / totals.images, 6),
        rated=sum(value_count.stars),
        mean_rating=None if mean is None else round(mean, 4),
        shrunk_rating=None if shrunk is None else round(shrunk, 4),
    )


def _five_star_rows(
    value_counts: Callable[[StatsKey], list[ValueCount]], totals: ImageTotals, request: StatsRequest
) -> list[FiveStarRow]:
    """All values of the compared keys, sorted for each key by the lower end of the confidence interval."""

    def compared_count(images: int, stars: tuple[int, ...]) -> int:
        return sum(stars) if request.rest == "rated" else images

    of_all = compared_count(totals.images, totals.stars)
    if not totals.stars[4]:
        return []
    rows = []
    for key in COMPARED_KEYS:
        of_key = []
        for value_count in value_counts(key):
            count, five = compared_count(value_count.images, value_count.stars), value_count.stars[4]
            if count < MIN_COMPARED or count == of_all:
                continue
            of_key.append(
                _five_star_row(key, value_count.value, five, count, (totals.stars[4] - five) / (of_all - count))
            )
        of_key.sort(key=lambda row: (-row.low, -row.compared, row.value))
        rows += of_key[: request.limit]
    return rows


def _five_star_row(key: StatsKey, value: str, five: int, count: int, others_share: float) -> FiveStarRow:
    low, high = wilson_interval(five, count)
    verdict = "above" if low > others_share else "below" if high < others_share else "unclear"
    return FiveStarRow.model_validate(
        {
            "key": key,
            "value": value,
            "five": five,
            "compared": count,
            "share": round(five / count, 6),
            "low": round(low, 6),
            "high": round(high, 6),
            "others_share": round(others_share, 6),
            "verdict": verdict,
        }
    )


def _term_odds(store: IndexStore, allowed_ids: Collection[int] | None, request: StatsRequest) -> list[TermOdds]:
    rated = request.rest == "rated"
    five = count_terms(store.statistics.prompts(allowed_ids, five_stars=True, rated=rated, limit=MAX_PROMPTS))
    others = count_terms(store.statistics.prompts(allowed_ids, five_stars=False, rated=rated, limit=MAX_PROMPTS))
    return log_odds(five, others)


def _term_row(odds: TermOdds) -> PromptTermRow:
    return PromptTermRow(
        term=odds.term, five=odds.five, others=odds.others, log_odds=round(odds.log_odds, 4), z=round(odds.z, 4)
    )


def _notes(totals: ImageTotals, request: StatsRequest) -> list[str]:
    rated, five = sum(totals.stars), totals.stars[4]
    if not totals.images:
        return []
    if not five:
        return ["no image has five stars, so there is nothing to compare; `indexd rate` sets ratings"]
    if request.rest == "rated" and rated - five < MIN_OTHERS:
        return [
            f"only {rated - five} images are rated below five stars; --against all also compares with unrated images"
        ]
    return []


Z_95 = 1.959963984540054
"""The standard normal quantile that leaves 2.5 % on each side."""
PRIOR_IMAGES = 5.0
"""Weight of the prior of `shrunk_rating`, in images with the mean rating."""


def wilson_interval(hits: int, total: int, z: float = Z_95) -> tuple[float, float]:
    """The confidence interval of the share `hits` / `total`; (0, 1) if `total` is 0.

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927). Unlike the normal
    approximation p ± z·sqrt(p(1-p)/n), it is valid for small counts and for shares near 0 and 1 (Brown, Cai and DasGupta, 2001).
    """
    if total <= 0:
        return 0.0, 1.0
    share = hits / total
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    middle, scale = share + z * z / (2 * total), 1 + z * z / total
    low = 0.0 if hits == 0 else (middle - spread) / scale
    high = 1.0 if hits == total else (middle + spread) / scale
    return low, high


def mean_rating(stars: Sequence[int]) -> float | None:
    """The mean rating; `stars` counts the images with one star, two stars and so on. None without ratings."""
    rated = sum(stars)
    return sum(rating * count for rating, count in enumerate(stars, 1)) / rated if rated else None


def shrunk_rating(stars: Sequence[int], mean_of_all: float, prior: float = PRIOR_IMAGES) -> float:
    """The mean rating, shrunk towards that of all images: `(prior · mean_of_all + sum) / (prior + n)`.

    This is the posterior mean under a normal prior with the weight of `prior` images (Gelman et al., Bayesian Data
    Analysis, 2.5), so a value with a single good image does not rank first.
    """
    total = sum(rating * count for rating, count in enumerate(stars, 1))
    return (prior * mean_of_all + total) / (prior + sum(stars))
