"""Which images are shown, and what the notes say about omitted ones."""

from __future__ import annotations

import pytest

from indexd.search.ranking.cutoff import DEFAULT_CUTOFF, CandidateScore, Cutoff, choose_cutoff
from indexd_schemas.api.requests import SearchRequest


def standing(score: float, attraction: float | None = None, by_words: bool = False) -> CandidateScore:
    return CandidateScore(score, score if attraction is None else attraction, by_words)


def test_the_default_cutoff_compares_the_positive_terms_and_requires_a_positive_score() -> None:
    cutoff = Cutoff(DEFAULT_CUTOFF)
    assert cutoff.passes(standing(DEFAULT_CUTOFF))
    assert not cutoff.passes(standing(DEFAULT_CUTOFF - 0.1))
    # Pushing away lifts nothing over the bar, and takes away what is more against than for.
    assert not cutoff.passes(standing(4.0, attraction=2.0))
    assert cutoff.passes(standing(1.0, attraction=4.0))
    assert not cutoff.passes(standing(-0.1, attraction=4.0))
    assert cutoff.passes(standing(-1.0, by_words=True))


def test_a_requested_cutoff_is_compared_with_the_score() -> None:
    cutoff = choose_cutoff(SearchRequest(min_score=1.5), has_positive_terms=True, image_count=5)
    assert cutoff.passes(standing(1.5, attraction=0.0))
    assert not cutoff.passes(standing(1.4, attraction=9.0, by_words=True))


@pytest.mark.parametrize(
    ("question", "attracts", "pictures", "least"),
    [
        (SearchRequest(), True, 100, DEFAULT_CUTOFF),
        (SearchRequest(), True, 99, None),
        (SearchRequest(), False, 10_000, None),
        (SearchRequest(everything=True), True, 10_000, None),
        (SearchRequest(everything=True, min_score=4.0), True, 10_000, None),
        (SearchRequest(min_score=-2.0), True, 10_000, -2.0),
    ],
)
def test_which_searches_have_a_cutoff(
    question: SearchRequest, attracts: bool, pictures: int, least: float | None
) -> None:
    assert choose_cutoff(question, has_positive_terms=attracts, image_count=pictures).threshold == least


def test_the_note_says_how_many_images_are_left_out() -> None:
    best = [standing(5.0), standing(2.0)]
    assert Cutoff(None).notes(best, 2) == []
    assert Cutoff(3.0).notes(best, 2) == []
    assert Cutoff(3.0).notes(best, 1) == [
        "1 of the best 2 score below the cut-off of +3 and are left out; --all shows them"
    ]
    assert (
        Cutoff(3.0)
        .notes([standing(2.5, attraction=2.25)], 0)[0]
        .startswith("nothing matches: the best score is +2.25, below the cut-off of +3")
    )
    assert Cutoff(9.0, is_explicit=True).notes(best, 0)[0].startswith("nothing matches: the best score is +5.00")
