"""What can be asked of indexd and done to it: one protocol, carried out in this process or by the daemon next door."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from indexd.api.image_bytes import ImageBytes
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
    SearchResults,
    ShownImage,
    ShownJob,
)
from indexd_schemas.api.requests import ControlMapRequest, SearchRequest
from indexd_schemas.api.responses import MadeControlMap, Readiness, ReparseReport, ScanReport, VerifiedModel


class Operations(Protocol):
    """Every method raises IndexdError with a sentence: NothingFound, UsageError, DaemonNotRunning, StoreError, …"""

    def query(self, question: SearchRequest) -> SearchResults:
        """The pictures that answer a question, best first."""
        ...

    def show(self, target: ImageTarget) -> ShownImage:
        """Everything that is known of one picture."""
        ...

    def explain(self, path: bytes) -> Explanation:
        """Whether a file (absolute path) is indexed, what is pending, or why it was skipped."""
        ...

    def status(self) -> DaemonStatus:
        """How everything stands."""
        ...

    def ready(self) -> Readiness:
        """Whether the daemon can be relied on now, and if not, why."""
        ...

    def metrics(self) -> str:
        """Numbers to watch over time, in Prometheus' text format."""
        ...

    def picture(self, image_id: int, *, small: bool) -> ImageBytes:
        """The bytes of a picture, or of its thumbnail. Raises NothingFound."""
        ...

    def scan(self, wait: bool) -> ScanReport:
        """Compare every root with the index now. Needs the daemon."""
        ...

    def submit(self, source: bytes, name: str) -> ShownJob:
        """Admit a job file. Raises Refused with line and column. Needs the daemon."""
        ...

    def jobs(self, states: Sequence[str], limit: int) -> JobList:
        """The newest jobs, of some states or of all."""
        ...

    def job(self, which: str) -> ShownJob:
        """One job with its pictures, by id or by name."""
        ...

    def cancel_job(self, which: str) -> ShownJob:
        """Stop a job within a denoising step; what is published stays. Needs the daemon."""
        ...

    def retry_job(self, which: str) -> ShownJob:
        """Queue the failed and cancelled pictures of a job again. Needs the daemon."""
        ...

    def rate(self, targets: Sequence[ImageTarget], rating: int) -> AnnotateReport:
        """Rate pictures 1 to 5; 0 takes the rating away."""
        ...

    def tag(self, targets: Sequence[ImageTarget], add: Sequence[str], remove: Sequence[str]) -> AnnotateReport:
        """Put tags on pictures and take tags off."""
        ...

    def note(self, targets: Sequence[ImageTarget], text: str, append: bool) -> AnnotateReport:
        """Set the note of pictures, or add a line to it; an empty text takes it away."""
        ...

    def mark_matching(self, request: AnnotateMatchingRequest) -> AnnotateReport:
        """Rate, tag or note every picture that meets all filters; a dry run counts them."""
        ...

    def export_page(self, request: ExportRequest) -> AnnotationPage:
        """A page of everything that people put in, by content, what waits for unknown contents included."""
        ...

    def import_marks(self, request: ImportRequest) -> ImportReport:
        """Merge what was exported; what is said of unknown contents waits until they appear."""
        ...

    def relocate(self, request: RelocateRequest) -> RelocateReport:
        """A whole tree lies under another path now; nothing is read, neither path need be there."""
        ...

    def forget(self, request: ForgetRequest) -> ForgetReport:
        """Take what is missing out of the index. Never touches a file."""
        ...

    def duplicates(self, question: DuplicatesRequest) -> DuplicatesReport:
        """Groups of the same or similar pictures, each with the one to keep. Changes nothing."""
        ...

    def stats(self, question: StatsRequest) -> StatisticsReport:
        """What there is, by model and the like, and what well rated pictures have in common."""
        ...

    def characters(self, question: CharacterListRequest) -> CharacterList:
        """Every character, the largest first."""
        ...

    def character(self, question: CharacterRequest) -> ShownCharacter:
        """One character with some of its faces."""
        ...

    def correct(self, correction: CorrectionRequest) -> CorrectionResult:
        """Put something right about characters, or undo that; what is said here no clustering undoes."""
        ...

    def corrections(self, limit: int) -> CorrectionLog:
        """What was put right, the newest first."""
        ...

    def suggest(self) -> Suggestions:
        """Characters that may be two, and pairs that may be one. Changes nothing."""
        ...

    def cluster(self, request: ClusterRequest) -> ClusteringState:
        """Begin a clustering of all faces in the background, see how it stands, or cancel it."""
        ...

    def sample(self, question: SampleRequest) -> SampleResult:
        """A few pictures of a character, or of a query."""
        ...

    def verify_model(self, role: str) -> VerifiedModel:
        """Load the model of a role and run it once. Raises ModelOff."""
        ...

    def control_map(self, request: ControlMapRequest) -> MadeControlMap:
        """Make the control map of a picture, or find it in the cache. Raises UsageError for an unknown type, ModelOff."""
        ...

    def reparse(self, after: int, limit: int, everything: bool) -> ReparseReport:
        """Read the stored metadata of the next images above the id `after` again; without `everything`, of those only
        that an older reader read."""
        ...

    def close(self) -> None:
        """Let go of what was opened for these operations."""
        ...
