"""The operations carried out by the daemon next door, over HTTP on its Unix socket or on loopback with the token.

The standard library's client is used: the command line starts in a third of the time that a larger one would take.
"""

from __future__ import annotations

import http.client
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import Message
from typing import TypeVar
from urllib.parse import quote, unquote, urlencode

from pydantic import BaseModel, ValidationError

from indexd import errors
from indexd.api.http.listen import host_header
from indexd.api.http.token import TcpEndpoint
from indexd.api.image_bytes import ImageBytes
from indexd.errors import DaemonNotRunning, IndexdError
from indexd.search.query.image_target import ImageTarget, format_target
from indexd_schemas.api.annotations import (
    AnnotateMatchingRequest,
    AnnotationPage,
    ExportRequest,
    ForgetReport,
    ForgetRequest,
    ImportReport,
    ImportRequest,
    NoteRequest,
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
    OutputDocument,
    SearchResults,
    ShownImage,
    ShownJob,
)
from indexd_schemas.api.requests import (
    ControlMapRequest,
    RateRequest,
    ReparseRequest,
    ScanRequest,
    SearchRequest,
    SubmitRequest,
    TagRequest,
)
from indexd_schemas.api.responses import (
    ErrorResponse,
    MadeControlMap,
    Readiness,
    ReparseReport,
    ScanReport,
    VerifiedModel,
)

CONNECT_SECONDS = 5.0
# The first question after an idle night may load a model from a slow disk.
ANSWER_SECONDS = 900.0

Reply = TypeVar("Reply", bound=OutputDocument)
Body = TypeVar("Body", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class DaemonAddress:
    """Where the daemon listens: a socket path, or a TCP door with its token. Exactly one is set."""

    socket_path: str | None = None
    tcp_endpoint: TcpEndpoint | None = None

    @property
    def host(self) -> str:
        """The Host header that the door answers to."""
        return (
            host_header(self.tcp_endpoint.address, self.tcp_endpoint.port)
            if self.tcp_endpoint is not None
            else "indexd"
        )

    @property
    def token(self) -> str | None:
        """The token to show; None on a Unix socket."""
        return self.tcp_endpoint.token if self.tcp_endpoint is not None else None

    def connect(self) -> socket.socket:
        """A connected socket. Raises OSError when nobody listens."""
        if self.tcp_endpoint is not None:
            return socket.create_connection((self.tcp_endpoint.address, self.tcp_endpoint.port), CONNECT_SECONDS)
        assert self.socket_path is not None
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(CONNECT_SECONDS)
        try:
            connection.connect(self.socket_path)
        except OSError:
            connection.close()
            raise
        return connection


class _Connection(http.client.HTTPConnection):
    def __init__(self, address: DaemonAddress, timeout: float | None) -> None:
        super().__init__(address.host, timeout=timeout)
        self._address = address

    def connect(self) -> None:
        self.sock = self._address.connect()
        self.sock.settimeout(self.timeout)


class RemoteOperations:
    """The operations of the daemon at `address`. Raises what the daemon raised, or DaemonNotRunning."""

    def __init__(self, address: DaemonAddress) -> None:
        self._address = address

    def query(self, question: SearchRequest) -> SearchResults:
        """See Operations."""
        return self._post("/v1/query", question, SearchResults)

    def show(self, target: ImageTarget) -> ShownImage:
        """See Operations."""
        return self._get("/v1/image", {"target": format_target(target)}, ShownImage)

    def explain(self, path: bytes) -> Explanation:
        """See Operations."""
        return self._get("/v1/explain", {"target": format_target(ImageTarget(path=path))}, Explanation)

    def status(self) -> DaemonStatus:
        """See Operations."""
        return self._get("/v1/status", {}, DaemonStatus)

    def ready(self) -> Readiness:
        """See Operations."""
        status, _, content = self._exchange("GET", "/ready", None, ANSWER_SECONDS)
        if status not in (200, 503):
            raise _raised(status, content)
        return _read(Readiness, content)

    def metrics(self) -> str:
        """See Operations."""
        return self._bytes("/metrics")[1].decode()

    def picture(self, image_id: int, *, small: bool) -> ImageBytes:
        """See Operations."""
        headers, data = self._bytes(f"/v1/images/{image_id}/{'thumbnail' if small else 'file'}")
        name = unquote((headers["content-disposition"] or "").partition("''")[2]) or str(image_id)
        return ImageBytes(data, headers.get_content_type(), name)

    def scan(self, wait: bool) -> ScanReport:
        """See Operations. Waits without a limit: a first scan of a million pictures takes its time."""
        return self._post("/v1/scan", ScanRequest(wait=wait), ScanReport, timeout=None)

    def submit(self, source: bytes, name: str) -> ShownJob:
        """See Operations."""
        try:
            text = source.decode()
        except UnicodeDecodeError as error:
            raise errors.JobRefused(f"{name}: byte {error.start} is not UTF-8; save the file as UTF-8") from None
        plain_name = name.encode("utf-8", "replace").decode()
        return self._post("/v1/jobs", _request(SubmitRequest, name=plain_name, source=text), ShownJob)

    def jobs(self, states: Sequence[str], limit: int) -> JobList:
        """See Operations."""
        return self._get("/v1/jobs", {"states": ",".join(states), "limit": str(limit)}, JobList)

    def job(self, which: str) -> ShownJob:
        """See Operations."""
        return self._get("/v1/job", {"which": which}, ShownJob)

    def cancel_job(self, which: str) -> ShownJob:
        """See Operations."""
        return self._post(f"/v1/job/cancel?{urlencode({'which': which})}", None, ShownJob)

    def retry_job(self, which: str) -> ShownJob:
        """See Operations."""
        return self._post(f"/v1/job/retry?{urlencode({'which': which})}", None, ShownJob)

    def rate(self, targets: Sequence[ImageTarget], rating: int) -> AnnotateReport:
        """See Operations."""
        return self._post(
            "/v1/rating",
            _request(RateRequest, targets=tuple(map(format_target, targets)), rating=rating),
            AnnotateReport,
        )

    def tag(self, targets: Sequence[ImageTarget], add: Sequence[str], remove: Sequence[str]) -> AnnotateReport:
        """See Operations."""
        request = _request(TagRequest, targets=tuple(map(format_target, targets)), add=tuple(add), remove=tuple(remove))
        return self._post("/v1/tags", request, AnnotateReport)

    def note(self, targets: Sequence[ImageTarget], text: str, append: bool) -> AnnotateReport:
        """See Operations."""
        request = _request(NoteRequest, targets=tuple(map(format_target, targets)), text=text, append=append)
        return self._post("/v1/notes", request, AnnotateReport)

    def mark_matching(self, request: AnnotateMatchingRequest) -> AnnotateReport:
        """See Operations. Waits without a limit: it may be half a library."""
        return self._post("/v1/marks/matching", request, AnnotateReport, timeout=None)

    def export_page(self, request: ExportRequest) -> AnnotationPage:
        """See Operations."""
        return self._post("/v1/marks/export", request, AnnotationPage)

    def import_marks(self, request: ImportRequest) -> ImportReport:
        """See Operations."""
        return self._post("/v1/marks/import", request, ImportReport)

    def relocate(self, request: RelocateRequest) -> RelocateReport:
        """See Operations."""
        return self._post("/v1/relocate", request, RelocateReport, timeout=None)

    def forget(self, request: ForgetRequest) -> ForgetReport:
        """See Operations."""
        return self._post("/v1/forget", request, ForgetReport, timeout=None)

    def duplicates(self, question: DuplicatesRequest) -> DuplicatesReport:
        """See Operations."""
        return self._post("/v1/duplicates", question, DuplicatesReport)

    def stats(self, question: StatsRequest) -> StatisticsReport:
        """See Operations."""
        return self._post("/v1/stats", question, StatisticsReport)

    def characters(self, question: CharacterListRequest) -> CharacterList:
        """See Operations."""
        return self._post("/v1/characters/list", question, CharacterList)

    def character(self, question: CharacterRequest) -> ShownCharacter:
        """See Operations."""
        return self._post("/v1/characters/show", question, ShownCharacter)

    def correct(self, correction: CorrectionRequest) -> CorrectionResult:
        """See Operations."""
        return self._post("/v1/characters/correct", correction, CorrectionResult)

    def corrections(self, limit: int) -> CorrectionLog:
        """See Operations."""
        return self._get("/v1/characters/corrections", {"limit": str(limit)}, CorrectionLog)

    def suggest(self) -> Suggestions:
        """See Operations."""
        return self._post("/v1/characters/suggest", None, Suggestions)

    def cluster(self, request: ClusterRequest) -> ClusteringState:
        """See Operations."""
        return self._post("/v1/characters/cluster", request, ClusteringState)

    def sample(self, question: SampleRequest) -> SampleResult:
        """See Operations."""
        return self._post("/v1/sample", question, SampleResult)

    def verify_model(self, role: str) -> VerifiedModel:
        """See Operations."""
        return self._post(f"/v1/models/{quote(role, safe='')}/verify", None, VerifiedModel)

    def control_map(self, request: ControlMapRequest) -> MadeControlMap:
        """See Operations."""
        return self._post("/v1/control", request, MadeControlMap)

    def reparse(self, after: int, limit: int, everything: bool) -> ReparseReport:
        """See Operations."""
        return self._post(
            "/v1/reparse", _request(ReparseRequest, after=after, limit=limit, everything=everything), ReparseReport
        )

    def close(self) -> None:
        """Every request has a connection of its own; nothing stays open."""

    def _get(self, path: str, given: dict[str, str], reply: type[Reply]) -> Reply:
        return self._send("GET", f"{path}?{urlencode(given)}" if given else path, None, reply, ANSWER_SECONDS)

    def _post(
        self, path: str, body: BaseModel | None, reply: type[Reply], timeout: float | None = ANSWER_SECONDS
    ) -> Reply:
        return self._send("POST", path, body.model_dump_json() if body is not None else "{}", reply, timeout)

    def _send(self, method: str, path: str, body: str | None, reply: type[Reply], timeout: float | None) -> Reply:
        status, _, content = self._exchange(method, path, body, timeout)
        if status != 200:
            raise _raised(status, content)
        return _read(reply, content)

    def _bytes(self, path: str) -> tuple[Message, bytes]:
        status, headers, content = self._exchange("GET", path, None, ANSWER_SECONDS)
        if status != 200:
            raise _raised(status, content)
        return headers, content

    def _exchange(self, method: str, path: str, body: str | None, timeout: float | None) -> tuple[int, Message, bytes]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._address.token is not None:
            headers["Authorization"] = f"Bearer {self._address.token}"
        connection = _Connection(self._address, timeout)
        try:
            connection.request(method, path, None if body is None else body.encode(), headers)
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        except TimeoutError:
            raise IndexdError(
                f"the daemon gave no answer within {timeout:g} s; `indexd status` shows what it does"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise DaemonNotRunning(f"the daemon went away while it was asked ({_reason(error)})") from None
        finally:
            connection.close()


def _read(reply: type[Reply], content: bytes) -> Reply:
    try:
        return reply.model_validate_json(content)
    except ValidationError:
        raise IndexdError("the daemon is of another version than this command; restart the daemon") from None


def _request(model: type[Body], **given: object) -> Body:
    """The body of a request. Raises UsageError for what cannot be sent: too long, or no Unicode."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        raise errors.UsageError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _raised(status: int, content: bytes) -> IndexdError:
    """The daemon's error as the same class here, so that the exit code is the same."""
    try:
        problem = ErrorResponse.model_validate_json(content)
    except ValidationError:
        return IndexdError(f"the daemon answered with status {status}; it may be of another version: restart it")
    kind = getattr(errors, problem.kind, IndexdError)
    # ModelOff is built from role and reason; here the finished sentence is what matters.
    if not (isinstance(kind, type) and issubclass(kind, IndexdError)) or kind is errors.ModelUnavailable:
        kind = IndexdError
    return kind(problem.text)


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__
