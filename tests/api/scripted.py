"""Operations that answer from a script and remember what they were asked."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from indexd.api.image_bytes import ImageBytes
from indexd.errors import JobRefused, NothingFound
from indexd.search.query.image_target import ImageTarget
from indexd_schemas.api.annotations import (
    AnnotateMatchingRequest,
    AnnotationPage,
    ExportRequest,
    ForgetReport,
    ForgetRequest,
    ImportReport,
    ImportRequest,
    RelocateReport,
    RelocateRequest,
)
from indexd_schemas.api.characters import (
    Character,
    CharacterList,
    CharacterListRequest,
    CharacterRequest,
    ClusteringState,
    ClusterRequest,
    CorrectionLog,
    CorrectionRequest,
    CorrectionResult,
    SampleRequest,
    SampleResult,
    ShownCharacter,
    Suggestions,
)
from indexd_schemas.api.library_reports import DuplicatesReport, DuplicatesRequest, StatisticsReport, StatsRequest
from indexd_schemas.api.output import (
    AnnotateReport,
    DaemonStatus,
    Explanation,
    JobList,
    JobSummary,
    SearchResults,
    ShownImage,
    ShownJob,
)
from indexd_schemas.api.requests import ControlMapRequest, SearchRequest
from indexd_schemas.api.responses import MadeControlMap, Readiness, ReparseReport, ScanReport, VerifiedModel

STATUS = DaemonStatus(
    running=True, version="0", pid=1, home="/h", index="/h/index.db", index_bytes=1, images=2, files=3, missing_files=0
)
LUNA = Character(id=1, name="Luna", faces=2, pictures=2, confirmed=0, kept=True, hidden=False)
JOB = ShownJob(
    job=JobSummary(id=7, name="x", kind="txt2img", state="queued", created_at=1.0, items={"queued": 1}),
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

    def query(self, question: SearchRequest) -> SearchResults:
        self._note("query", question)
        return SearchResults(hits=[], considered=5, seconds=0.1, notes=["bge is off, because …"])

    def show(self, target: ImageTarget) -> ShownImage:
        self._note("show", target)
        raise NothingFound(f"{target} is not in the index")

    def explain(self, path: bytes) -> Explanation:
        self._note("explain", path)
        return Explanation(path="p", state="outside", sentences=["it lies outside"])

    def status(self) -> DaemonStatus:
        self._note("status")
        return STATUS

    def ready(self) -> Readiness:
        self._note("ready")
        return Readiness(ready=False, reasons=["comparing"])

    def metrics(self) -> str:
        self._note("metrics")
        return "indexd_images 2\n"

    def picture(self, image_id: int, *, small: bool) -> ImageBytes:
        self._note("picture", image_id, small)
        return ImageBytes(b"bytes", "image/png", 'ä"\r\n.png')

    def scan(self, wait: bool) -> ScanReport:
        self._note("scan", wait)
        return ScanReport(waited=wait, seconds=0.5, images=2, files=3, missing_files=0)

    def submit(self, source: bytes, name: str) -> ShownJob:
        self._note("submit", source, name)
        if b"wrong" in source:
            raise JobRefused("line 1, column 1: wrong\nline 2, column 1: worse")
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

    def rate(self, targets: Sequence[ImageTarget], rating: int) -> AnnotateReport:
        self._note("rate", list(targets), rating)
        return AnnotateReport(changed=len(targets))

    def tag(self, targets: Sequence[ImageTarget], add: Sequence[str], remove: Sequence[str]) -> AnnotateReport:
        self._note("tag", list(targets), list(add), list(remove))
        return AnnotateReport(changed=1, not_found=["x"])

    def note(self, targets: Sequence[ImageTarget], text: str, append: bool) -> AnnotateReport:
        self._note("note", list(targets), text, append)
        return AnnotateReport(changed=len(targets))

    def mark_matching(self, request: AnnotateMatchingRequest) -> AnnotateReport:
        self._note("mark_matching", request)
        return AnnotateReport(changed=self.matching)

    def export_page(self, request: ExportRequest) -> AnnotationPage:
        self._note("export_page", request)
        return AnnotationPage(records=[])

    def import_marks(self, request: ImportRequest) -> ImportReport:
        self._note("import_marks", request)
        return ImportReport(records=len(request.records), changed=0, same=0, waiting=0)

    def relocate(self, request: RelocateRequest) -> RelocateReport:
        self._note("relocate", request)
        return RelocateReport(files=2, dropped=0, notes=["change it"])

    def forget(self, request: ForgetRequest) -> ForgetReport:
        self._note("forget", request)
        return ForgetReport(
            files=3, images=2, marks_kept=1, still_there=0, examples=["/a.png"], dry_run=request.dry_run
        )

    def duplicates(self, question: DuplicatesRequest) -> DuplicatesReport:
        self._note("duplicates", question)
        return DuplicatesReport(groups=[], found=[], seconds=0.1)

    def characters(self, question: CharacterListRequest) -> CharacterList:
        self._note("characters", question)
        return CharacterList(characters=[], faces=2, unassigned=1)

    def character(self, question: CharacterRequest) -> ShownCharacter:
        self._note("character", question)
        return ShownCharacter(character=LUNA, faces=[])

    def correct(self, correction: CorrectionRequest) -> CorrectionResult:
        self._note("correct", correction)
        return CorrectionResult(number=3, text="named 1 Luna")

    def corrections(self, limit: int) -> CorrectionLog:
        self._note("corrections", limit)
        return CorrectionLog(corrections=[])

    def suggest(self) -> Suggestions:
        self._note("suggest")
        return Suggestions(splits=[], merges=[])

    def cluster(self, request: ClusterRequest) -> ClusteringState:
        self._note("cluster", request)
        return ClusteringState(state="running")

    def sample(self, question: SampleRequest) -> SampleResult:
        self._note("sample", question)
        return SampleResult(pictures=[], among=4)

    def stats(self, question: StatsRequest) -> StatisticsReport:
        self._note("stats", question)
        return StatisticsReport(
            pictures=0, rated=0, ratings={}, tables=[], five_stars=[], terms_for=[], terms_against=[], seconds=0.1
        )

    def verify_model(self, role: str) -> VerifiedModel:
        self._note("verify_model", role)
        return VerifiedModel(role=role, ok=True, detail="cpu", seconds=1.0)

    def control_map(self, request: ControlMapRequest) -> MadeControlMap:
        self._note("control_map", request)
        return MadeControlMap(
            path="/m.png", type="canny", method="canny/1-2", width=8, height=8, cached=True, seconds=0.1
        )

    def reparse(self, after: int, limit: int, everything: bool) -> ReparseReport:
        self._note("reparse", after, limit, everything)
        return ReparseReport(read=limit, changed=1, last_id=after + limit, left=3)

    def close(self) -> None:
        self._note("close")
