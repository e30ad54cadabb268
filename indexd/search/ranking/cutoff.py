"""The cut-off score of a search: the default, an explicit one, or none.

A non-matching image reaches a score of z by chance with probability 1 - normal(z): once in 160 images for 2.5. Images
form clusters, so the best of many non-matching images scores lower than that of as many independent draws. Between 300
and 50 000 images it scores 2.3 to 2.8 in most searches, and above 3.0 to 3.5 in one of ten. On drawn images with trained
models, a cut-off of 2.5 keeps the hits of nearly every search for something present; 3 keeps those of every second one.
docs/search.md has the table; tests/models/toyworld/test_asking.py and tests/unit/search/test_ranking.py check it.

Positive terms decide whether an image matches. Negative terms change the order, and exclude images whose total score is
not positive. An image that contains all text terms matches. With few candidates or a small background sample there is
no default cut-off: a person can look through all results, and the calibration is inaccurate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from indexd_schemas.api.requests import SearchRequest

DEFAULT_CUTOFF = 2.5
MIN_IMAGES_FOR_DEFAULT = 100


@dataclass(frozen=True, slots=True)
class CandidateScore:
    """The score of all terms, the score of the positive terms, and whether the image contains all text terms."""

    score: float
    positive_score: float
    has_all_text: bool


@dataclass(frozen=True, slots=True)
class Cutoff:
    """`threshold` None = no cut-off. An explicit threshold applies to the score of all terms."""

    threshold: float | None
    is_explicit: bool = False

    def passes(self, candidate: CandidateScore) -> bool:
        if self.threshold is None:
            return True
        if self.is_explicit:
            return candidate.score >= self.threshold
        return candidate.has_all_text or (candidate.positive_score >= self.threshold and candidate.score > 0)

    def notes(self, best: Sequence[CandidateScore], shown: int) -> list[str]:
        """Notes about the best candidates (at most the limit of the search), of which `shown` passed."""
        left_out = len(best) - shown
        if self.threshold is None or left_out <= 0:
            return []
        cutoff_text = f"the cut-off of {self.threshold:+g}"
        if shown:
            return [f"{left_out} of the best {len(best)} score below {cutoff_text} and are left out; --all shows them"]
        top = max(one.score if self.is_explicit else one.positive_score for one in best)
        return [f"nothing matches: the best score is {top:+.2f}, below {cutoff_text}; --all shows the nearest images"]


def choose_cutoff(request: SearchRequest, *, has_positive_terms: bool, image_count: int) -> Cutoff:
    """`image_count` is the number of candidates, or the size of the smallest background sample if that is lower."""
    if request.everything:
        return Cutoff(None)
    if request.min_score is not None:
        return Cutoff(request.min_score, is_explicit=True)
    return Cutoff(DEFAULT_CUTOFF if has_positive_terms and image_count >= MIN_IMAGES_FOR_DEFAULT else None)
