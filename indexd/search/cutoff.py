"""Which of the ranked pictures fit at all: the default cut-off, one that was asked for, or none.

A score of z says that a picture which does not fit would be as alike by chance once in 1 / (1 - normal(z)) times: once
in 160 for 2.5. Pictures come in clusters, so the best of many that do not fit scores far less than as many independent
draws would: 2.3 to 2.8 as a rule between 300 and 50 000 pictures, over 3.0 to 3.5 once in ten questions. On drawn pictures
with trained models 2.5 lets nearly every question about what is there be answered, and 3 only every second one
(docs/search.md has the table; tests/toyworld/test_asking.py and tests/search/test_ranking.py hold it).

Only what attracts decides whether something fits; what pushes away orders it, and leaves out what it is more against
than for. A picture that holds every word asked for fits by its words. Where few pictures stand for choice or for
comparison, there is no default cut-off: a person looks through them, and a background of so few says little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from indexd_schemas.question import Question

DEFAULT_CUTOFF = 2.5
FEWEST_PICTURES = 100


@dataclass(frozen=True, slots=True)
class Standing:
    """What decides: the whole `score`, the score of what attracts alone, and whether the words asked for are all there."""

    score: float
    attraction: float
    by_words: bool


@dataclass(frozen=True, slots=True)
class Cutoff:
    """`least` None = everything is shown. `asked` = the person named it, so it is held against the whole score."""

    least: float | None
    asked: bool = False

    def passes(self, standing: Standing) -> bool:
        """Whether a picture is shown."""
        if self.least is None:
            return True
        if self.asked:
            return standing.score >= self.least
        return standing.by_words or (standing.attraction >= self.least and standing.score > 0)

    def notes(self, best: Sequence[Standing], shown: int) -> list[str]:
        """What to say about the best pictures, as many as were asked for, of which `shown` passed."""
        left_out = len(best) - shown
        if self.least is None or left_out <= 0:
            return []
        bar = f"the cut-off of {self.least:+g}"
        if shown:
            return [f"{left_out} of the best {len(best)} score below {bar} and are left out; --all shows them"]
        top = max(one.score if self.asked else one.attraction for one in best)
        return [f"nothing here fits: the best score is {top:+.2f}, below {bar}; --all shows the nearest all the same"]


def cutoff_of(question: Question, *, attracts: bool, pictures: int) -> Cutoff:
    """The cut-off of a question. `pictures` = the fewest that stand for choice, or in a background it is measured by."""
    if question.everything:
        return Cutoff(None)
    if question.min_score is not None:
        return Cutoff(question.min_score, asked=True)
    return Cutoff(DEFAULT_CUTOFF if attracts and pictures >= FEWEST_PICTURES else None)
