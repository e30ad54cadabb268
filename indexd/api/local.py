"""The operations carried out in this process: inside the daemon with its live parts, or over an index opened by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from indexd import roles
from indexd.api import keeping
from indexd.api.control import control_map
from indexd.api.explain import explain
from indexd.api.ledger import job_of, shown_job
from indexd.api.live import LiveParts
from indexd.api.local_characters import LocalCharacters
from indexd.api.metrics import JOB_STATES, metrics_text
from indexd.api.pending import pending_work
from indexd.api.picture_bytes import PictureBytes
from indexd.api.pictures import thumbnail, whole
from indexd.api.readiness import readiness
from indexd.api.reparse import reparse
from indexd.api.standing import roles_now, scanned, status
from indexd.api.verify import verify_model
from indexd.characters.operations import regions_with_characters
from indexd.config import Config
from indexd.duplicates.find import find_duplicates
from indexd.errors import DaemonNotRunning, NothingFound, UsageError
from indexd.search.embedder import WorkerEmbedder
from indexd.search.find import find_id, find_row
from indexd.search.present import extras_of, file_of, image_of, making_of, shown_text
from indexd.search.run import Search
from indexd.search.targets import Target
from indexd.statistics.tell import tell_statistics
from indexd.store.index import Store
from indexd.store.records import JobRow
from indexd.worker.handle import Submits
from indexd.worker.workers import Workers
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
from indexd_schemas.output import Answer, Explanation, JobList, Marked, ShownImage, ShownJob, Status
from indexd_schemas.question import ControlRequest, Question
from indexd_schemas.replies import MadeMap, Readiness, Reparsed, Scanned, VerifiedModel

# Nothing durable lives in a worker, so a command that has its answer need not wait for the process to leave politely.
OWN_WORKERS_STOP_SECONDS = 2.0


class LocalOperations(LocalCharacters):
    """Operations over the index in this process; see Operations for what each method promises.

    Without `live` there is no daemon: what needs one raises DaemonNotRunning, and models are loaded in workers of our
    own. `at_end` is called by `close`.
    """

    def __init__(
        self,
        config: Config,
        store: Store,
        live: LiveParts | None = None,
        at_end: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(config, store, self._workers, live.clusterer if live is not None else None)
        self._live = live
        self._at_end = at_end
        self._own_workers: Workers | None = None
        self._search = Search(store, WorkerEmbedder(self._workers, lambda role: roles.need(config, role)))

    def query(self, question: Question) -> Answer:
        """See Operations."""
        return self._search.query(question)

    def show(self, target: Target) -> ShownImage:
        """See Operations."""
        row = find_row(self._store, target)
        if row is None:
            raise NothingFound(f"{target} is not in the index; `indexd explain` says why")
        raw: dict[str, str] = {}
        for chunk in self._store.images.raw(row.id):
            key = chunk.key if chunk.key not in raw else f"{chunk.key}#{sum(k.startswith(chunk.key) for k in raw) + 1}"
            raw[key] = shown_text(chunk.text)
        return ShownImage(
            image=image_of(row),
            files=[file_of(file) for file in row.files],
            work=pending_work(self._store, roles_now(self._config, self._live), row.id),
            regions=regions_with_characters(self._store, self._store.faces.of_image(row.id)),
            making=making_of(self._store.images.details(row.id)),
            extras=extras_of(row),
            raw=raw,
        )

    def explain(self, path: bytes) -> Explanation:
        """See Operations."""
        return explain(
            self._store,
            self._config,
            path,
            running=self._live is not None,
            role_states=roles_now(self._config, self._live),
        )

    def status(self) -> Status:
        """See Operations."""
        return status(self._store, self._config, self._live)

    def ready(self) -> Readiness:
        """See Operations."""
        return readiness(self._store, self._live)

    def metrics(self) -> str:
        """See Operations."""
        return metrics_text(self._store, self._config, self._live)

    def picture(self, image_id: int, *, small: bool) -> PictureBytes:
        """See Operations."""
        return (thumbnail if small else whole)(self._store, self._config, image_id)

    def scan(self, wait: bool) -> Scanned:
        """See Operations."""
        live = self._daemon("scan")
        began = time.perf_counter()
        live.watch.scan(None, wait=wait)
        if wait:
            live.drain()
        return scanned(self._store, live, waited=wait, seconds=time.perf_counter() - began)

    def submit(self, source: bytes, name: str) -> ShownJob:
        """See Operations."""
        if "/" in name or "\\" in name or name in (".", ".."):
            raise UsageError(f"a job's name is a file name without folders (got {name!r})")
        return shown_job(self._store, self._daemon("submit").jobs.submit(source, name))

    def jobs(self, states: Sequence[str], limit: int) -> JobList:
        """See Operations."""
        wrong = [state for state in states if state not in JOB_STATES]
        if wrong:
            raise UsageError(f"there is no state {wrong[0]!r}; states are {', '.join(JOB_STATES)}")
        return JobList(jobs=[job_of(row) for row in self._store.jobs.list(tuple(states) or None, limit)])

    def job(self, which: str) -> ShownJob:
        """See Operations."""
        return shown_job(self._store, self._job(which))

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

    def rate(self, targets: Sequence[Target], rating: int) -> Marked:
        """See Operations."""
        if not 0 <= rating <= 5:
            raise UsageError(f"a rating is 0 to 5 (got {rating})")
        ids, not_found = self._ids(targets)
        if ids:
            self._store.marks.rate(ids, rating)
        return Marked(changed=len(ids), not_found=not_found)

    def tag(self, targets: Sequence[Target], add: Sequence[str], remove: Sequence[str]) -> Marked:
        """See Operations."""
        keeping.check_tags(add, remove)
        ids, not_found = self._ids(targets)
        if ids:
            self._store.marks.tag(ids, add, remove)
        return Marked(changed=len(ids), not_found=not_found)

    def note(self, targets: Sequence[Target], text: str, append: bool) -> Marked:
        """See Operations."""
        ids, not_found = self._ids(targets)
        if ids:
            self._store.marks.note(ids, text, append=append)
        return Marked(changed=len(ids), not_found=not_found)

    def mark_matching(self, request: MarkMatchingRequest) -> Marked:
        """See Operations."""
        return keeping.mark_matching(self._store, request)

    def export_page(self, request: ExportRequest) -> MarkPage:
        """See Operations."""
        return keeping.export_page(self._store, request)

    def import_marks(self, request: ImportRequest) -> Imported:
        """See Operations."""
        return keeping.import_marks(self._store, request)

    def relocate(self, request: RelocateRequest) -> Relocated:
        """See Operations."""
        return keeping.relocate(self._store, self._config, self._live, request)

    def forget(self, request: ForgetRequest) -> Forgotten:
        """See Operations."""
        return keeping.forget(self._store, self._config, self._live, request)

    def duplicates(self, question: DuplicatesQuestion) -> Duplicates:
        """See Operations."""
        return find_duplicates(self._store, question)

    def stats(self, question: StatsQuestion) -> Statistics:
        """See Operations."""
        return tell_statistics(self._store, question)

    def verify_model(self, role: str) -> VerifiedModel:
        """See Operations."""
        if role not in roles.ALL_ROLES:
            raise UsageError(f"there is no role {role!r}; roles are {', '.join(roles.ALL_ROLES)}")
        verified = verify_model(self._config, self._workers(), role)
        if self._live is not None:
            self._live.works(role)
        return verified

    def control_map(self, request: ControlRequest) -> MadeMap:
        """See Operations."""
        return control_map(self._workers(), request)

    def reparse(self, after: int, limit: int, everything: bool) -> Reparsed:
        """See Operations."""
        return reparse(self._store, after, limit, everything, self._live.announce if self._live else None)

    def close(self) -> None:
        """End our own workers and let go of the index; inside the daemon both belong to it, and nothing happens."""
        self.stop_clustering()
        if self._own_workers is not None:
            self._own_workers.stop(OWN_WORKERS_STOP_SECONDS)
            self._own_workers = None
        if self._at_end is not None:
            self._at_end()

    def _daemon(self, what: str) -> LiveParts:
        if self._live is None:
            raise DaemonNotRunning(f"{what} needs the daemon, and it is not running; start it with `indexd run`")
        return self._live

    def _workers(self) -> Submits:
        if self._live is not None:
            return self._live.workers
        if self._own_workers is None:
            self._own_workers = Workers(roles.worker_settings(self._config))
        return self._own_workers

    def _job(self, which: str) -> JobRow:
        row = self._store.jobs.get(int(which)) if which.isascii() and which.isdigit() and len(which) < 19 else None
        row = row or self._store.jobs.by_name(which)
        if row is None:
            raise NothingFound(f"there is no job {which!r}; `indexd jobs list` shows them")
        return row

    def _ids(self, targets: Sequence[Target]) -> tuple[list[int], list[str]]:
        found: dict[int, None] = {}
        not_found = []
        for target in targets:
            image_id = find_id(self._store, target)
            if image_id is None:
                not_found.append(str(target))
            else:
                found[image_id] = None
        return list(found), not_found
