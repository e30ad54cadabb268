"""Which of the ranked pictures fit at all: the default cut-off, one that was asked for, or none.

A score of z says that a picture which does not fit would be as alike by chance once in 1 / (1 - normal(z)) times: once
in 160 for 2.5. Pictures come in clusters, so the best of many that do not fit scores far less than as many independent
draws would: 2.3 to 2.8 as a rule between 300 and 50 000 pictures, over 3.0 to 3.5 once in ten questions. On drawn pictures
with trained models 2.5 lets nearly every question about what is there be answered, and 3 only every second one
(docs/search.md has the table; tests/models/toyworld/test_asking.py and tests/unit/search/test_ranking.py hold it).

Only what attracts decides whether something fits; what pushes away orders it, and leaves out what it is more against
than for. A picture that holds every word asked for fits by its words. Where few pictures stand for choice or for
comparison, there is no default cut-off: a person looks through them, and a background of so few says little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from indexd_schemas.api.requests import SearchRequest

DEFAULT_CUTOFF = 2.5
MIN_IMAGES_FOR_DEFAULT = 100


@dataclass(frozen=True, slots=True)
class CandidateScore:
    """What decides: the whole `score`, the score of what attracts alone, and whether the words asked for are all there."""

    score: float
    positive_score: float
    has_all_text: bool


@dataclass(frozen=True, slots=True)
class Cutoff:
    """`least` None = everything is shown. `asked` = the person named it, so it is held against the whole score."""

    threshold: float | None
    is_explicit: bool = False

    def passes(self, candidate: CandidateScore) -> bool:
        """Whether a picture is shown."""
        if self.threshold is None:
            return True
        if self.is_explicit:
            return candidate.score >= self.threshold
        return candidate.has_all_text or (candidate.positive_score >= self.threshold and candidate.score > 0)

    def notes(self, best: Sequence[CandidateScore], shown: int) -> list[str]:
        """What to say about the best pictures, as many as were asked for, of which `shown` passed."""
        left_out = len(best) - shown
        if self.threshold is None or left_out <= 0:
            return []
        bar = f"the cut-off of {self.threshold:+g}"
        if shown:
            return [f"{left_out} of the best {len(best)} score below {bar} and are left out; --all shows them"]
        top = max(one.score if self.is_explicit else one.positive_score for one in best)
        return [f"nothing here fits: the best score is {top:+.2f}, below {bar}; --all shows the nearest all the same"]


def choose_cutoff(request: SearchRequest, *, has_positive_terms: bool, image_count: int) -> Cutoff:
    """The cut-off of a question. `pictures` = the fewest that stand for choice, or in a background it is measured by."""
    if request.everything:
        return Cutoff(None)
    if request.min_score is not None:
        return Cutoff(request.min_score, is_explicit=True)
    return Cutoff(DEFAULT_CUTOFF if has_positive_terms and image_count >= MIN_IMAGES_FOR_DEFAULT else None)
