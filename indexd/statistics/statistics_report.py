"""The whole question about statistics: counts by key, what five-star pictures have in common, which words go with them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from functools import cache

from indexd.search.query.filter_language import parse_filters
from indexd.statistics.intervals import mean_rating, shrunk_rating, wilson_interval
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
"""A value on fewer pictures says nothing, and is not listed among what five-star pictures have in common."""
MAX_PROMPTS = 20_000
MIN_OTHERS = 10
MIN_Z = 1.96
"""Terms nearer to zero are what chance alone gives in one of twenty, and are not listed."""


def compute_statistics(store: IndexStore, request: StatsRequest) -> StatisticsReport:
    """The answer. Raises UsageError for a filter that is none."""
    began = time.perf_counter()
    among = store.filters.ids(parse_filters(request.filters))
    whole = store.statistics.totals(among)
    mean = mean_rating(whole.stars)

    @cache  # models, LoRAs and samplers are wanted twice, and counting walks over every picture
    def tallies(key: StatsKey) -> list[ValueCount]:
        return store.statistics.counts_by(key, among)

    five = _five_star_rows(tallies, whole, request)
    odds = _term_odds(store, among, request) if whole.stars[4] else []
    return StatisticsReport(
        images=whole.images,
        rated=sum(whole.stars),
        mean_rating=None if mean is None else round(mean, 4),
        ratings={str(stars): count for stars, count in enumerate(whole.stars, 1)},
        first_at=whole.first_at,
        last_at=whole.last_at,
        tables=[
            _count_table(key, tallies(key), store.statistics.count_with_value(key, among), whole, request.limit)
            for key in dict.fromkeys(request.by)
        ],
        five_stars=five,
        terms_for=[_term_row(one) for one in odds if one.z >= MIN_Z][: request.limit],
        terms_against=[_term_row(one) for one in reversed(odds) if one.z <= -MIN_Z][: request.limit],
        seconds=round(time.perf_counter() - began, 6),
        notes=_notes(whole, request),
    )


def _count_table(key: StatsKey, tallies: list[ValueCount], stated: int, whole: ImageTotals, limit: int) -> CountTable:
    if key in ("month", "year"):
        shown = sorted(sorted(tallies, key=lambda tally: tally.value)[-limit:], key=lambda tally: tally.value)
    else:
        shown = tallies[:limit]
    return CountTable(key=key, stated=stated, values=len(tallies), rows=[_count_row(one, whole) for one in shown])


def _count_row(tally: ValueCount, whole: ImageTotals) -> StatisticsCount:
    mean, of_all = mean_rating(tally.stars), mean_rating(whole.stars)
    shrunk = shrunk_rating(tally.stars, of_all) if mean is not None and of_all is not None else None
    return StatisticsCount(
        value=tally.value,
        images=tally.images,
        share=round(tally.images / whole.images, 6),
        rated=sum(tally.stars),
        mean_rating=None if mean is None else round(mean, 4),
        shrunk_rating=None if shrunk is None else round(shrunk, 4),
    )


def _five_star_rows(
    tallies: Callable[[StatsKey], list[ValueCount]], whole: ImageTotals, request: StatsRequest
) -> list[FiveStarRow]:
    """Every value of the compared keys, those that differ most surely from the others first."""

    def compared(pictures: int, stars: tuple[int, ...]) -> int:
        return sum(stars) if request.rest == "rated" else pictures

    of_all = compared(whole.images, whole.stars)
    if not whole.stars[4]:
        return []
    rows = []
    for key in COMPARED_KEYS:
        of_key = []
        for tally in tallies(key):
            of, five = compared(tally.images, tally.stars), tally.stars[4]
            if of < MIN_COMPARED or of == of_all:
                continue
            of_key.append(_five_star_row(key, tally.value, five, of, (whole.stars[4] - five) / (of_all - of)))
        of_key.sort(key=lambda row: (-row.low, -row.compared, row.value))
        rows += of_key[: request.limit]
    return rows


def _five_star_row(key: StatsKey, value: str, five: int, of: int, others_share: float) -> FiveStarRow:
    low, high = wilson_interval(five, of)
    verdict = "above" if low > others_share else "below" if high < others_share else "unclear"
    return FiveStarRow.model_validate(
        {
            "key": key,
            "value": value,
            "five": five,
            "compared": of,
            "share": round(five / of, 6),
            "low": round(low, 6),
            "high": round(high, 6),
            "others_share": round(others_share, 6),
            "verdict": verdict,
        }
    )


def _term_odds(store: IndexStore, among: Collection[int] | None, request: StatsRequest) -> list[TermOdds]:
    rated = request.rest == "rated"
    five = count_terms(store.statistics.prompts(among, five_stars=True, rated=rated, limit=MAX_PROMPTS))
    others = count_terms(store.statistics.prompts(among, five_stars=False, rated=rated, limit=MAX_PROMPTS))
    return log_odds(five, others)


def _term_row(odds: TermOdds) -> PromptTermRow:
    return PromptTermRow(
        term=odds.term, five=odds.five, others=odds.others, log_odds=round(odds.log_odds, 4), z=round(odds.z, 4)
    )


def _notes(whole: ImageTotals, request: StatsRequest) -> list[str]:
    rated, five = sum(whole.stars), whole.stars[4]
    if not whole.images:
        return []
    if not five:
        return ["no image here has five stars, so there is nothing to compare with; `indexd rate` rates images"]
    if request.rest == "rated" and rated - five < MIN_OTHERS:
        return [
            f"only {rated - five} images here are rated below five; --against all compares with the unrated ones as well"
        ]
    return []
