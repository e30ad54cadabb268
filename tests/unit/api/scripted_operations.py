"""Operations that return prepared responses and record their calls."""

from __future__ import annotations

import threading
from typing import Any, cast

from indexd.api.image_bytes import ImageBytes
from indexd.api.operations.registry import Operation, Operations, ResponseT
from indexd.errors import JobRefused, NothingFound
from indexd_schemas.api.annotations import AnnotationPage, ForgetReport, ImportReport, RelocateReport
from indexd_schemas.api.characters import (
    Character,
    CharacterList,
    ClusteringState,
    CorrectionLog,
    CorrectionResult,
    SampleResult,
    ShownCharacter,
    Suggestions,
)
from indexd_schemas.api.library_reports import DuplicatesReport, StatisticsReport
from indexd_schemas.api.output import (
    AnnotateReport,
    DaemonStatus,
    Explanation,
    JobList,
    JobPreview,
    JobSummary,
    SearchResults,
    ShownJob,
)
from indexd_schemas.api.requests import ApiRequest, SubmitRequest
from indexd_schemas.api.responses import Health, MadeControlMap, Readiness, ReparseReport, ScanReport, VerifiedModel

STATUS = DaemonStatus(
    running=True, version="0", pid=1, home="/h", index="/h/index.db", index_bytes=1, images=2, files=3, missing_files=0
)
LUNA = Character(id=1, name="Luna", faces=2, images=2, confirmed=0, curated=True, hidden=False)
JOB = ShownJob(
    job=JobSummary(id=7, name="x", kind="txt2img", state="queued", created_at=1.0, items={"queued": 1}),
    items=[],
    source="kind: txt2img\n",
)
SCANNED = ScanReport(waited=True, seconds=0.5, images=2, files=3, missing_files=0)
FORGOTTEN = ForgetReport(files=3, images=2, annotations_kept=1, still_there=0, examples=["/a.png"])


class ScriptedOperations(Operations):
    """`responses` holds the response of each operation by name, or an error to raise; `error` is raised by all of them.

    `calls` are the names and requests so far. While `hold` is set to an event, calls wait for it.
    """

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.calls: list[tuple[str, ApiRequest]] = []
        self.threads: set[str] = set()
        self.hold: threading.Event | None = None
        self.closed = False
        self.responses: dict[str, object] = {
            "health": Health(),
            "query": SearchResults(hits=[], candidate_count=5, seconds=0.1, notes=["bge is off, because …"]),
            "show": NothingFound("#1 is not in the index"),
            "explain": Explanation(path="p", state="outside", sentences=["it lies outside"]),
            "status": STATUS,
            "ready": Readiness(ready=False, reasons=["scanning"]),
            "metrics": "indexd_images 2\n",
            "thumbnail": ImageBytes(b"small", "image/webp", "7.webp"),
            "original": ImageBytes(b"bytes", "image/png", 'ä"\r\n.png'),
            "scan": SCANNED,
            "submit": JOB,
            "preview": JobPreview(
                name="x", kind="txt2img", images=1, seconds=None, choices={}, template_files={}, sample=[]
            ),
            "list_jobs": JobList(jobs=[JOB.job]),
            "show_job": JOB,
            "cancel_job": JOB,
            "retry_job": JOB,
            "rate": AnnotateReport(changed=2),
            "tag": AnnotateReport(changed=1, not_found=["x"]),
            "note": AnnotateReport(changed=1),
            "annotate_matching": AnnotateReport(changed=3),
            "export_annotations": AnnotationPage(records=[]),
            "import_annotations": ImportReport(records=1, changed=0, same=0, pending=0),
            "relocate": RelocateReport(files=2, dropped=0, notes=["change it"]),
            "forget": FORGOTTEN,
            "duplicates": DuplicatesReport(groups=[], found=[], seconds=0.1),
            "stats": StatisticsReport(
                images=0, rated=0, ratings={}, tables=[], five_stars=[], terms_for=[], terms_against=[], seconds=0.1
            ),
            "list_characters": CharacterList(characters=[], faces=2, unassigned=1),
            "show_character": ShownCharacter(character=LUNA, faces=[]),
            "correct": CorrectionResult(number=3, text="named 1 Luna"),
            "list_corrections": CorrectionLog(corrections=[]),
            "suggest": Suggestions(splits=[], merges=[]),
            "cluster": ClusteringState(state="running"),
            "sample": SampleResult(images=[], among=4),
            "verify_model": VerifiedModel(role="bge", ok=True, detail="cpu", seconds=1.0),
            "control_map": MadeControlMap(
                path="/m.png", type="canny", method="canny/1-2", width=8, height=8, cached=True, seconds=0.1
            ),
            "reparse": ReparseReport(read=10, changed=1, last_id=15, left=3),
        }

    @property
    def names(self) -> list[str]:
        """The names of the operations called so far."""
        return [name for name, _ in self.calls]

    def carry_out(self, operation: Operation[Any, ResponseT], request: ApiRequest) -> ResponseT:
        self.calls.append((operation.name, request))
        self.threads.add(threading.current_thread().name)
        if self.hold is not None and operation.needs_index:
            self.hold.wait(20)
        if self.error is not None:
            raise self.error
        if isinstance(request, SubmitRequest) and "wrong" in request.source:
            raise JobRefused("line 1, column 1: wrong\nline 2, column 1: worse")
        response = self.responses[operation.name]
        if isinstance(response, Exception):
            raise response
        return cast("ResponseT", response)

    def close(self) -> None:
        self.closed = True
