"""Which pictures are shown, and what is said about those that are not."""

from __future__ import annotations

import pytest

from indexd.search.cutoff import DEFAULT_CUTOFF, Cutoff, Standing, cutoff_of
from indexd_schemas.question import Question


def standing(score: float, attraction: float | None = None, by_words: bool = False) -> Standing:
    return Standing(score, score if attraction is None else attraction, by_words)


def test_the_default_asks_what_attracts_and_more_for_than_against() -> None:
    cutoff = Cutoff(DEFAULT_CUTOFF)
    assert cutoff.passes(standing(DEFAULT_CUTOFF))
    assert not cutoff.passes(standing(DEFAULT_CUTOFF - 0.1))
    # Pushing away lifts nothing over the bar, and takes away what is more against than for.
    assert not cutoff.passes(standing(4.0, attraction=2.0))
    assert cutoff.passes(standing(1.0, attraction=4.0))
    assert not cutoff.passes(standing(-0.1, attraction=4.0))
    assert cutoff.passes(standing(-1.0, by_words=True))


def test_a_cut_off_that_was_asked_for_is_held_against_the_score() -> None:
    cutoff = cutoff_of(Question(min_score=1.5), attracts=True, pictures=5)
    assert cutoff.passes(standing(1.5, attraction=0.0))
    assert not cutoff.passes(standing(1.4, attraction=9.0, by_words=True))


@pytest.mark.parametrize(
    ("question", "attracts", "pictures", "least"),
    [
        (Question(), True, 100, DEFAULT_CUTOFF),
        (Question(), True, 99, None),
        (Question(), False, 10_000, None),
        (Question(everything=True), True, 10_000, None),
        (Question(everything=True, min_score=4.0), True, 10_000, None),
        (Question(min_score=-2.0), True, 10_000, -2.0),
    ],
)
def test_when_there_is_a_cut_off(question: Question, attracts: bool, pictures: int, least: float | None) -> None:
    assert cutoff_of(question, attracts=attracts, pictures=pictures).least == least


def test_what_is_said() -> None:
    best = [standing(5.0), standing(2.0)]
    assert Cutoff(None).notes(best, 2) == []
    assert Cutoff(3.0).notes(best, 2) == []
    assert Cutoff(3.0).notes(best, 1) == [
        "1 of the best 2 score below the cut-off of +3 and are left out; --all shows them"
    ]
    assert (
        Cutoff(3.0)
        .notes([standing(2.5, attraction=2.25)], 0)[0]
        .startswith("nothing here fits: the best score is +2.25, below the cut-off of +3")
    )
    assert Cutoff(9.0, asked=True).notes(best, 0)[0].startswith("nothing here fits: the best score is +5.00")
