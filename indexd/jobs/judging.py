"""`score:` and `keep:` of a job: checked at admission, and the verdict when every picture is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from indexd.aesthetics import problem_of
from indexd.errors import ModelOff
from indexd.jobs.diagnose import FieldProblem
from indexd.store.records import ItemRow
from indexd.worker.calls import CLIP_H
from indexd_schemas.job import Job
from indexd_schemas.scoring import Keep, ScoreName, passes, places


class Judging:
    """What can be judged here."""

    def __init__(
        self, need: Callable[[str], None], head: Path | None, width: Callable[[], int | None] = lambda: None
    ) -> None:
        """`need(role)` raises ModelOff where a role is off; `head` is the file of the aesthetic score, and `width` tells the
        length of clip_h's vectors where that can be told.
        """
        self._need = need
        self._head = head
        self._width = width

    def scores(self, job: Job, prompt: str) -> tuple[ScoreName, ...]:
        """The scores that a job of this prompt asks for. Raises FieldProblem where one cannot be given, or `keep` asks for
        another.
        """
        wanted = tuple(dict.fromkeys(job.score))
        for name in wanted:
            self._check(name)
        if "clip" in wanted and not prompt.strip():
            raise FieldProblem(
                ("score",), "score: clip tells how a picture fits its prompt, and there is none; write `prompt`"
            )
        keep = job.keep
        if keep is None:
            return wanted
        if not wanted:
            raise FieldProblem(("keep",), "keep: pictures are kept by their scores; name them under `score`")
        for key, name in [(key, key) for key in keep.limits] + ([("by", keep.by)] if keep.by else []):
            if name not in wanted:
                raise FieldProblem(("keep", key), f"keep.{key}: the score {name} is not under `score`; add it there")
        return wanted

    def _check(self, name: ScoreName) -> None:
        if name == "sharpness":
            return
        try:
            self._need(CLIP_H)
        except ModelOff as error:
            raise FieldProblem(("score",), f"score: {name} needs the model clip_h: {error.reason}") from None
        if name == "aesthetic" and self._head is None:
            raise FieldProblem(
                ("score",), "score: aesthetic needs a head; name its file in the settings ([score] aesthetic)"
            )
        if name == "aesthetic" and self._head is not None:
            if not self._head.is_file():
                raise FieldProblem(("score",), f"score: there is no file {self._head} ([score] aesthetic)")
            problem = problem_of(self._head, self._width())
            if problem is not None:
                raise FieldProblem(
                    ("score",), f"score: the aesthetic head {self._head.name} {problem} ([score] aesthetic)"
                )


def not_kept(items: Sequence[ItemRow], keep: Keep, by: str) -> list[ItemRow]:
    """Those finished pictures of a job that are not kept. `by` is the score that `top` ranks by where `keep` says none.

    A share is of all finished pictures; of equal ones the earlier counts as better. One that has no scores is kept.
    """
    judged = [item for item in items if item.state == "done" and item.scores]
    within = [item for item in judged if all(passes(item.scores[name], limit) for name, limit in keep.limits.items())]
    if keep.top is not None:
        name = keep.by or by
        within.sort(key=lambda item: (-item.scores[name], item.index))
        within = within[: places(keep.top, len(judged))]
    kept = {item.id for item in within}
    return [item for item in judged if item.id not in kept]
