"""`score:` and `keep:` of a job: validated at admission, applied when every image is rendered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from indexd.aesthetic_head import find_head_problem
from indexd.errors import ModelUnavailable
from indexd.jobs.parsing.validation import FieldError
from indexd.store.records import JobItemRow
from indexd.worker.calls import CLIP_H
from indexd_schemas.jobs.job import Job
from indexd_schemas.jobs.scoring import Keep, ScoreName, is_within_limit, keep_count


class ScoreValidator:
    """Checks which scores this installation can give."""

    def __init__(
        self,
        require_role: Callable[[str], None],
        head_file: Path | None,
        vector_width: Callable[[], int | None] = lambda: None,
    ) -> None:
        """`require_role(role)` raises ModelUnavailable; `head_file` is the aesthetic head, `vector_width()` the
        length of clip_h's vectors, None where it is not known.
        """
        self._require_role = require_role
        self._head_file = head_file
        self._vector_width = vector_width

    def requested_scores(self, job: Job, prompt: str) -> tuple[ScoreName, ...]:
        """The scores that a job requests. Raises FieldError where one cannot be given, or `keep` needs one that is not
        another.
        """
        scores = tuple(dict.fromkeys(job.score))
        for name in scores:
            self._check(name)
        if "clip" in scores and not prompt.strip():
            raise FieldError(
                ("score",), "score: clip tells how an image fits its prompt, and there is none; write `prompt`"
            )
        keep = job.keep
        if keep is None:
            return scores
        if not scores:
            raise FieldError(("keep",), "keep: images are kept by their scores; name them under `score`")
        for key, name in [(key, key) for key in keep.limits] + ([("by", keep.by)] if keep.by else []):
            if name not in scores:
                raise FieldError(("keep", key), f"keep.{key}: the score {name} is not under `score`; add it there")
        return scores

    def _check(self, name: ScoreName) -> None:
        if name == "sharpness":
            return
        try:
            self._require_role(CLIP_H)
        except ModelUnavailable as error:
            raise FieldError(("score",), f"score: {name} needs the model clip_h: {error.reason}") from None
        if name == "aesthetic" and self._head_file is None:
            raise FieldError(
                ("score",), "score: aesthetic needs a head; name its file in the settings ([score] aesthetic)"
            )
        if name == "aesthetic" and self._head_file is not None:
            if not self._head_file.is_file():
                raise FieldError(("score",), f"score: there is no file {self._head_file} ([score] aesthetic)")
            problem = find_head_problem(self._head_file, self._vector_width())
            if problem is not None:
                raise FieldError(
                    ("score",), f"score: the aesthetic head {self._head_file.name} {problem} ([score] aesthetic)"
                )


def items_to_reject(items: Sequence[JobItemRow], keep: Keep, rank_by: str) -> list[JobItemRow]:
    """The finished images that a job does not keep. `rank_by` is the score for `top` where `keep` names none.

    A share is of all finished images; of equal ones the earlier counts as better. One that has no scores is kept.
    """
    judged = [item for item in items if item.state == "done" and item.scores]
    within = [
        item for item in judged if all(is_within_limit(item.scores[name], limit) for name, limit in keep.limits.items())
    ]
    if keep.top is not None:
        name = keep.by or rank_by
        within.sort(key=lambda item: (-item.scores[name], item.index))
        within = within[: keep_count(keep.top, len(judged))]
    kept = {item.id for item in within}
    return [item for item in judged if item.id not in kept]
