"""The whole question about statistics: counts by key, what five-star pictures have in common, which words go with them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from functools import cache

from indexd.search.language import parse
from indexd.statistics.intervals import mean_rating, shrunk_rating, wilson
from indexd.statistics.terms import Odds, count_terms, log_odds
from indexd.store.index import Store
from indexd.store.tallies import Tally, Whole
from indexd_schemas.library import Counted, CountTable, FiveStarRow, Statistics, StatsKey, StatsQuestion, TermRow

COMPARED_KEYS: tuple[StatsKey, ...] = ("model", "lora", "cfg", "steps", "sampler")
LEAST_COMPARED = 5
"""A value on fewer pictures says nothing, and is not listed among what five-star pictures have in common."""
MOST_PROMPTS = 20_000
FEW_OTHERS = 10
LEAST_Z = 1.96
"""Terms nearer to zero are what chance alone gives in one of twenty, and are not listed."""


def tell_statistics(store: Store, question: StatsQuestion) -> Statistics:
    """The answer. Raises UsageError for a filter that is none."""
    began = time.perf_counter()
    among = store.filters.ids(parse(question.filters))
    whole = store.tallies.whole(among)
    mean = mean_rating(whole.stars)

    @cache  # models, LoRAs and samplers are wanted twice, and counting walks over every picture
    def tallies(key: StatsKey) -> list[Tally]:
        return store.tallies.by(key, among)

    five = _five_stars(tallies, whole, question)
    odds = _terms(store, among, question) if whole.stars[4] else []
    return Statistics(
        pictures=whole.pictures,
        rated=sum(whole.stars),
        mean_rating=None if mean is None else round(mean, 4),
        ratings={str(stars): count for stars, count in enumerate(whole.stars, 1)},
        first_at=whole.first_at,
        last_at=whole.last_at,
        tables=[
            _table(key, tallies(key), store.tallies.stated(key, among), whole, question.limit)
            for key in dict.fromkeys(question.by)
        ],
        five_stars=five,
        terms_for=[_term(one) for one in odds if one.z >= LEAST_Z][: question.limit],
        terms_against=[_term(one) for one in reversed(odds) if one.z <= -LEAST_Z][: question.limit],
        seconds=round(time.perf_counter() - began, 6),
        notes=_notes(whole, question),
    )


def _table(key: StatsKey, tallies: list[Tally], stated: int, whole: Whole, limit: int) -> CountTable:
    if key in ("month", "year"):
        shown = sorted(sorted(tallies, key=lambda tally: tally.value)[-limit:], key=lambda tally: tally.value)
    else:
        shown = tallies[:limit]
    return CountTable(key=key, stated=stated, values=len(tallies), rows=[_counted(one, whole) for one in shown])


def _counted(tally: Tally, whole: Whole) -> Counted:
    mean, of_all = mean_rating(tally.stars), mean_rating(whole.stars)
    shrunk = shrunk_rating(tally.stars, of_all) if mean is not None and of_all is not None else None
    return Counted(
        value=tally.value,
        pictures=tally.pictures,
        share=round(tally.pictures / whole.pictures, 6),
        rated=sum(tally.stars),
        mean_rating=None if mean is None else round(mean, 4),
        shrunk_rating=None if shrunk is None else round(shrunk, 4),
    )


def _five_stars(tallies: Callable[[StatsKey], list[Tally]], whole: Whole, question: StatsQuestion) -> list[FiveStarRow]:
    """Every value of the compared keys, those that differ most surely from the others first."""

    def compared(pictures: int, stars: tuple[int, ...]) -> int:
        return sum(stars) if question.rest == "rated" else pictures

    of_all = compared(whole.pictures, whole.stars)
    if not whole.stars[4]:
        return []
    rows = []
    for key in COMPARED_KEYS:
        of_key = []
        for tally in tallies(key):
            of, five = compared(tally.pictures, tally.stars), tally.stars[4]
            if of < LEAST_COMPARED or of == of_all:
                continue
            of_key.append(_five_star_row(key, tally.value, five, of, (whole.stars[4] - five) / (of_all - of)))
        of_key.sort(key=lambda row: (-row.low, -row.compared, row.value))
        rows += of_key[: question.limit]
    return rows


def _five_star_row(key: StatsKey, value: str, five: int, of: int, others_share: float) -> FiveStarRow:
    low, high = wilson(five, of)
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


def _terms(store: Store, among: Collection[int] | None, question: StatsQuestion) -> list[Odds]:
    rated = question.rest == "rated"
    five = count_terms(store.tallies.prompts(among, five=True, rated=rated, most=MOST_PROMPTS))
    others = count_terms(store.tallies.prompts(among, five=False, rated=rated, most=MOST_PROMPTS))
    return log_odds(five, others)


def _term(odds: Odds) -> TermRow:
    return TermRow(
        term=odds.term, five=odds.five, others=odds.others, log_odds=round(odds.log_odds, 4), z=round(odds.z, 4)
    )


def _notes(whole: Whole, question: StatsQuestion) -> list[str]:
    rated, five = sum(whole.stars), whole.stars[4]
    if not whole.pictures:
        return []
    if not five:
        return ["no picture here has five stars: there is nothing to compare with; `indexd rate` gives them"]
    if question.rest == "rated" and rated - five < FEW_OTHERS:
        return [
            f"only {rated - five} pictures here are rated below five; --against all compares with the unrated ones as well"
        ]
    return []
