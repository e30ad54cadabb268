"""Operations that answer from a script and remember what they were asked."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from indexd.api.picture_bytes import PictureBytes
from indexd.errors import NothingFound, Refused
from indexd.search.targets import Target
from indexd_schemas.characters import (
    Character,
    CharacterList,
    CharacterQuestion,
    CharactersQuestion,
    ClusteringState,
    ClusterRequest,
    Corrected,
    Correction,
    CorrectionLog,
    Sample,
    SampleQuestion,
    ShownCharacter,
    Suggestions,
)
from indexd_schemas.library import Duplicates, DuplicatesQuestion, Statistics, StatsQuestion
from indexd_schemas.marks import (
    ExportRequest,
    ForgetRequest,
    Forgotten,
    Imported,
    ImportRequest,
    MarkMatchingRequest,
    MarkPage,
    Relocated,
    RelocateRequest,
)
from indexd_schemas.output import Answer, Explanation, Job, JobList, Marked, ShownImage, ShownJob, Status
from indexd_schemas.question import ControlRequest, Question
from indexd_schemas.replies import MadeMap, Readiness, Reparsed, Scanned, VerifiedModel

STATUS = Status(
    running=True, version="0", pid=1, home="/h", index="/h/index.db", index_bytes=1, images=2, files=3, missing_files=0
)
LUNA = Character(id=1, name="Luna", faces=2, pictures=2, confirmed=0, kept=True, hidden=False)
JOB = ShownJob(
    job=Job(id=7, name="x", kind="txt2img", state="queued", created_at=1.0, items={"queued": 1}),
    pictures=[],
    source="kind: txt2img\n",
)


class ScriptedOperations:
    """Every call is kept in `asked`; `error`, when set, is raised by each of them."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.asked: list[tuple[str, Any]] = []
        self.matching = 3
        self.threads: set[str] = set()
        self.hold: threading.Event | None = None

    def _note(self, name: str, *given: Any) -> None:
        self.asked.append((name, given))
        self.threads.add(threading.current_thread().name)
        if self.hold is not None:
            self.hold.wait(20)
        if self.error is not None:
            raise self.error

    def query(self, question: Question) -> Answer:
        self._note("query", question)
        return Answer(hits=[], considered=5, seconds=0.1, notes=["bge is off, because …"])

    def show(self, target: Target) -> ShownImage:
        self._note("show", target)
        raise NothingFound(f"{target} is not in the index")

    def explain(self, path: bytes) -> Explanation:
        self._note("explain", path)
        return Explanation(path="p", state="outside", sentences=["it lies outside"])

    def status(self) -> Status:
        self._note("status")
        return STATUS

    def ready(self) -> Readiness:
        self._note("ready")
        return Readiness(ready=False, reasons=["comparing"])

    def metrics(self) -> str:
        self._note("metrics")
        return "indexd_images 2\n"

    def picture(self, image_id: int, *, small: bool) -> PictureBytes:
        self._note("picture", image_id, small)
        return PictureBytes(b"bytes", "image/png", 'ä"\r\n.png')

    def scan(self, wait: bool) -> Scanned:
        self._note("scan", wait)
        return Scanned(waited=wait, seconds=0.5, images=2, files=3, missing_files=0)

    def submit(self, source: bytes, name: str) -> ShownJob:
        self._note("submit", source, name)
        if b"wrong" in source:
            raise Refused("line 1, column 1: wrong\nline 2, column 1: worse")
        return JOB

    def jobs(self, states: Sequence[str], limit: int) -> JobList:
        self._note("jobs", list(states), limit)
        return JobList(jobs=[JOB.job])

    def job(self, which: str) -> ShownJob:
        self._note("job", which)
        return JOB

    def cancel_job(self, which: str) -> ShownJob:
        self._note("cancel_job", which)
        return JOB

    def retry_job(self, which: str) -> ShownJob:
        self._note("retry_job", which)
        return JOB

    def rate(self, targets: Sequence[Target], rating: int) -> Marked:
        self._note("rate", list(targets), rating)
        return Marked(changed=len(targets))

    def tag(self, targets: Sequence[Target], add: Sequence[str], remove: Sequence[str]) -> Marked:
        self._note("tag", list(targets), list(add), list(remove))
        return Marked(changed=1, not_found=["x"])

    def note(self, targets: Sequence[Target], text: str, append: bool) -> Marked:
        self._note("note", list(targets), text, append)
        return Marked(changed=len(targets))

    def mark_matching(self, request: MarkMatchingRequest) -> Marked:
        self._note("mark_matching", request)
        return Marked(changed=self.matching)

    def export_page(self, request: ExportRequest) -> MarkPage:
        self._note("export_page", request)
        return MarkPage(records=[])

    def import_marks(self, request: ImportRequest) -> Imported:
        self._note("import_marks", request)
        return Imported(records=len(request.records), changed=0, same=0, waiting=0)

    def relocate(self, request: RelocateRequest) -> Relocated:
        self._note("relocate", request)
        return Relocated(files=2, dropped=0, notes=["change it"])

    def forget(self, request: ForgetRequest) -> Forgotten:
        self._note("forget", request)
        return Forgotten(files=3, images=2, marks_kept=1, still_there=0, examples=["/a.png"], dry_run=request.dry_run)

    def duplicates(self, question: DuplicatesQuestion) -> Duplicates:
        self._note("duplicates", question)
        return Duplicates(groups=[], found=[], seconds=0.1)

    def characters(self, question: CharactersQuestion) -> CharacterList:
        self._note("characters", question)
        return CharacterList(characters=[], faces=2, unassigned=1)

    def character(self, question: CharacterQuestion) -> ShownCharacter:
        self._note("character", question)
        return ShownCharacter(character=LUNA, faces=[])

    def correct(self, correction: Correction) -> Corrected:
        self._note("correct", correction)
        return Corrected(number=3, text="named 1 Luna")

    def corrections(self, limit: int) -> CorrectionLog:
        self._note("corrections", limit)
        return CorrectionLog(corrections=[])

    def suggest(self) -> Suggestions:
        self._note("suggest")
        return Suggestions(splits=[], merges=[])

    def cluster(self, request: ClusterRequest) -> ClusteringState:
        self._note("cluster", request)
        return ClusteringState(state="running")

    def sample(self, question: SampleQuestion) -> Sample:
        self._note("sample", question)
        return Sample(pictures=[], among=4)

    def stats(self, question: StatsQuestion) -> Statistics:
        self._note("stats", question)
        return Statistics(
            pictures=0, rated=0, ratings={}, tables=[], five_stars=[], terms_for=[], terms_against=[], seconds=0.1
        )

    def verify_model(self, role: str) -> VerifiedModel:
        self._note("verify_model", role)
        return VerifiedModel(role=role, ok=True, detail="cpu", seconds=1.0)

    def control_map(self, request: ControlRequest) -> MadeMap:
        self._note("control_map", request)
        return MadeMap(path="/m.png", type="canny", method="canny/1-2", width=8, height=8, cached=True, seconds=0.1)

    def reparse(self, after: int, limit: int, everything: bool) -> Reparsed:
        self._note("reparse", after, limit, everything)
        return Reparsed(read=limit, changed=1, last_id=after + limit, left=3)

    def close(self) -> None:
        self._note("close")
