"""The operations carried out in this process: inside the daemon with its live parts, or over an index opened by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from indexd import model_roles
from indexd.api.context import DaemonContext
from indexd.api.image_bytes import ImageBytes
from indexd.api.metrics import JOB_STATES, render_metrics
from indexd.api.operations import annotations as annotations_table
from indexd.api.operations.explain import explain
from indexd.api.operations.images import load_original, load_thumbnail, pending_index_tasks
from indexd.api.operations.jobs import serialize_job, serialize_shown_job
from indexd.api.operations.local_characters import LocalCharacterOperations
from indexd.api.operations.maintenance import reparse
from indexd.api.operations.models import control_map, verify_model
from indexd.api.operations.status import current_role_states, readiness, scan_result, status
from indexd.characters.operations import serialize_regions
from indexd.config import Config
from indexd.duplicates.duplicate_report import find_duplicates
from indexd.errors import DaemonNotRunning, NothingFound, UsageError
from indexd.search.query.image_lookup import find_image_id, find_image_row
from indexd.search.query.image_target import ImageTarget
from indexd.search.query.query_embedder import WorkerQueryEmbedder
from indexd.search.search import Search
from indexd.search.serialization import (
    sanitize_text,
    serialize_attributes,
    serialize_extras,
    serialize_file,
    serialize_generation,
    serialize_image,
)
from indexd.statistics.statistics_report import compute_statistics
from indexd.store.records import JobRow
from indexd.store.sqlite.store import Store
from indexd.worker.call_handle import WorkerBackend
from indexd.worker.local_workers import LocalWorkers
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

# Nothing durable lives in a worker, so a command that has its answer need not wait for the process to leave politely.
OWN_WORKERS_STOP_SECONDS = 2.0


class LocalOperations(LocalCharacterOperations):
    """Operations over the index in this process; see Operations for what each method promises.

    Without `live` there is no daemon: what needs one raises DaemonNotRunning, and models are loaded in workers of our
    own. `at_end` is called by `close`.
    """

    def __init__(
        self,
        config: Config,
        store: Store,
        live: DaemonContext | None = None,
        at_end: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(config, store, self._workers, live.clusterer if live is not None else None)
        self._live = live
        self._at_end = at_end
        self._own_workers: LocalWorkers | None = None
        self._search = Search(
            store, WorkerQueryEmbedder(self._workers, lambda role: model_roles.require_role(config, role))
        )

    def query(self, question: SearchRequest) -> SearchResults:
        """See Operations."""
        return self._search.query(question)

    def show(self, target: ImageTarget) -> ShownImage:
        """See Operations."""
        row = find_image_row(self._store, target)
        if row is None:
            raise NothingFound(f"{target} is not in the index; `indexd explain` says why")
        raw: dict[str, str] = {}
        for chunk in self._store.images.raw_chunks(row.id):
            key = chunk.key if chunk.key not in raw else f"{chunk.key}#{sum(k.startswith(chunk.key) for k in raw) + 1}"
            raw[key] = sanitize_text(chunk.text)
        return ShownImage(
            image=serialize_image(row),
            files=[serialize_file(file) for file in row.files],
            work=pending_index_tasks(self._store, current_role_states(self._config, self._live), row.id),
            regions=serialize_regions(self._store, self._store.faces.of_image(row.id)),
            attributes=serialize_attributes(self._store.attributes.of_images([row.id]).get(row.id, ())),
            making=serialize_generation(self._store.images.details(row.id)),
            extras=serialize_extras(row),
            raw=raw,
        )

    def explain(self, path: bytes) -> Explanation:
        """See Operations."""
        return explain(
            self._store,
            self._config,
            path,
            daemon_running=self._live is not None,
            role_states=current_role_states(self._config, self._live),
        )

    def status(self) -> DaemonStatus:
        """See Operations."""
        return status(self._store, self._config, self._live)

    def ready(self) -> Readiness:
        """See Operations."""
        return readiness(self._store, self._live)

    def metrics(self) -> str:
        """See Operations."""
        return render_metrics(self._store, self._config, self._live)

    def picture(self, image_id: int, *, small: bool) -> ImageBytes:
        """See Operations."""
        return (load_thumbnail if small else load_original)(self._store, self._config, image_id)

    def scan(self, wait: bool) -> ScanReport:
        """See Operations."""
        live = self._daemon("scan")
        began = time.perf_counter()
        live.watch.scan(None, wait=wait)
        if wait:
            live.drain()
        return scan_result(self._store, live, waited=wait, seconds=time.perf_counter() - began)

    def submit(self, source: bytes, name: str) -> ShownJob:
        """See Operations."""
        if "/" in name or "\\" in name or name in (".", ".."):
            raise UsageError(f"a job's name is a file name without folders (got {name!r})")
        return serialize_shown_job(self._store, self._daemon("submit").jobs.submit(source, name))

    def jobs(self, states: Sequence[str], limit: int) -> JobList:
        """See Operations."""
        wrong = [state for state in states if state not in JOB_STATES]
        if wrong:
            raise UsageError(f"there is no state {wrong[0]!r}; states are {', '.join(JOB_STATES)}")
        return JobList(jobs=[serialize_job(row) for row in self._store.jobs.list(tuple(states) or None, limit)])

    def job(self, which: str) -> ShownJob:
        """See Operations."""
        return serialize_shown_job(self._store, self._job(which))

    def cancel_job(self, which: str) -> ShownJob:
        """See Operations."""
        desk, row = self._daemon("jobs cancel").jobs, self._job(which)
        desk.cancel(row.id)
        return self.job(str(row.id))

    def retry_job(self, which: str) -> ShownJob:
        """See Operations."""
        desk, row = self._daemon("jobs retry").jobs, self._job(which)
        desk.retry(row.id)
        return self.job(str(row.id))

    def rate(self, targets: Sequence[ImageTarget], rating: int) -> AnnotateReport:
        """See Operations."""
        if not 0 <= rating <= 5:
            raise UsageError(f"a rating is 0 to 5 (got {rating})")
        ids, not_found = self._ids(targets)
        if ids:
            self._store.annotations.rate(ids, rating)
        return AnnotateReport(changed=len(ids), not_found=not_found)

    def tag(self, targets: Sequence[ImageTarget], add: Sequence[str], remove: Sequence[str]) -> AnnotateReport:
        """See Operations."""
        annotations_table.check_tags(add, remove)
        ids, not_found = self._ids(targets)
        if ids:
            self._store.annotations.tag(ids, add, remove)
        return AnnotateReport(changed=len(ids), not_found=not_found)

    def note(self, targets: Sequence[ImageTarget], text: str, append: bool) -> AnnotateReport:
        """See Operations."""
        ids, not_found = self._ids(targets)
        if ids:
            self._store.annotations.note(ids, text, append=append)
        return AnnotateReport(changed=len(ids), not_found=not_found)

    def mark_matching(self, request: AnnotateMatchingRequest) -> AnnotateReport:
        """See Operations."""
        return annotations_table.annotate_matching(self._store, request)

    def export_page(self, request: ExportRequest) -> AnnotationPage:
        """See Operations."""
        return annotations_table.export_page(self._store, request)

    def import_marks(self, request: ImportRequest) -> ImportReport:
        """See Operations."""
        return annotations_table.import_annotations(self._store, request)

    def relocate(self, request: RelocateRequest) -> RelocateReport:
        """See Operations."""
        return annotations_table.relocate(self._store, self._config, self._live, request)

    def forget(self, request: ForgetRequest) -> ForgetReport:
        """See Operations."""
        return annotations_table.forget(self._store, self._config, self._live, request)

    def duplicates(self, question: DuplicatesRequest) -> DuplicatesReport:
        """See Operations."""
        return find_duplicates(self._store, question)

    def stats(self, question: StatsRequest) -> StatisticsReport:
        """See Operations."""
        return compute_statistics(self._store, question)

    def verify_model(self, role: str) -> VerifiedModel:
        """See Operations."""
        if role not in model_roles.ALL_ROLES:
            raise UsageError(f"there is no role {role!r}; roles are {', '.join(model_roles.ALL_ROLES)}")
        verified = verify_model(self._config, self._workers(), role)
        if self._live is not None:
            self._live.on_model_verified(role)
        return verified

    def control_map(self, request: ControlMapRequest) -> MadeControlMap:
        """See Operations."""
        return control_map(self._workers(), request)

    def reparse(self, after: int, limit: int, everything: bool) -> ReparseReport:
        """See Operations."""
        return reparse(self._store, after, limit, everything, self._live.signal_new_work if self._live else None)

    def close(self) -> None:
        """End our own workers and let go of the index; inside the daemon both belong to it, and nothing happens."""
        self.stop_clustering()
        if self._own_workers is not None:
            self._own_workers.stop(OWN_WORKERS_STOP_SECONDS)
            self._own_workers = None
        if self._at_end is not None:
            self._at_end()

    def _daemon(self, what: str) -> DaemonContext:
        if self._live is None:
            raise DaemonNotRunning(f"{what} needs the daemon, and it is not running; start it with `indexd run`")
        return self._live

    def _workers(self) -> WorkerBackend:
        if self._live is not None:
            return self._live.workers
        if self._own_workers is None:
            self._own_workers = LocalWorkers(model_roles.worker_settings(self._config))
        return self._own_workers

    def _job(self, which: str) -> JobRow:
        row = self._store.jobs.get(int(which)) if which.isascii() and which.isdigit() and len(which) < 19 else None
        row = row or self._store.jobs.by_name(which)
        if row is None:
            raise NothingFound(f"there is no job {which!r}; `indexd jobs list` shows them")
        return row

    def _ids(self, targets: Sequence[ImageTarget]) -> tuple[list[int], list[str]]:
        found: dict[int, None] = {}
        not_found = []
        for target in targets:
            image_id = find_image_id(self._store, target)
            if image_id is None:
                not_found.append(str(target))
            else:
                found[image_id] = None
        return list(found), not_found
