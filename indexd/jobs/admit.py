"""A job file -> the ledger: guard, schema, names on disk, limits; seeds drawn and paths fixed; one transaction.

The row comes first and holds the file's bytes; the move of the file follows and can be repeated. `admission_key` names
the file that was dropped (inode, times, size, content), so admitting it again after a crash in between is harmless.
"""

from __future__ import annotations

import itertools
import os
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from blake3 import blake3

from indexd.errors import NotRegular, Refused, StoreUnavailable, is_machines_fault
from indexd.jobs import guard
from indexd.jobs.admitted import Admitted, Declined, LeftAlone
from indexd.jobs.diagnose import FieldProblem, read_job, refusal
from indexd.jobs.expand import Desk, Draft
from indexd.jobs.folders import ENDINGS
from indexd.jobs.mirror import Mirror
from indexd.jobs.names import UNSEEN, check_pattern, complete_pattern, names_of, output_folder, words_of
from indexd.store.index import Store
from indexd.store.records import ItemRow, JobRow, NewItem, NewJob
from indexd.watch.paths import display
from indexd.watch.regular import open_regular
from indexd_schemas.job import Job

NAME_CHARACTERS = 200
CLAIMS_KEPT = 50_000
"""So many names of pictures, and twice those of the jobs that were not over, are kept before they are gathered anew."""


class Admission:
    """Takes job files, from the inbox or as bytes."""

    def __init__(
        self,
        store: Store,
        mirror: Mirror,
        desk: Desk,
        kinds: Callable[[], Mapping[str, Callable[..., Any]]],
        output: Path,
        clock: Callable[[], float],
    ) -> None:
        """`kinds` gives the handlers by job kind; `output` is the folder of jobs that name none."""
        self._store = store
        self._mirror = mirror
        self._folders = mirror.folders
        self._desk = desk
        self._kinds = kinds
        self._output = output
        self._clock = clock
        self._names: dict[str, set[str]] | None = None
        self._claims = self._claims_limit = 0

    def take(self, path: Path) -> Admitted | Declined | LeftAlone:
        """Admit a file of the inbox, or refuse it. Raises StorageFull or OSError where the disk is at fault."""
        if path.suffix.lower() not in ENDINGS or path.parent != self._folders.inbox:
            return LeftAlone()
        with self._folders.lock:
            self._mirror.settle_all()  # a file whose row is there already goes its way, and is not read again
            try:
                with open_regular(os.fsencode(path)) as file:
                    stat = os.fstat(file.fileno())
                    source = file.read(guard.MAX_BYTES + 1)
            except (FileNotFoundError, NotRegular):
                return LeftAlone()
            except PermissionError:
                return self._decline(path, "the file may not be read; change its permissions")
            if stat.st_size > guard.MAX_BYTES:
                return self._decline(
                    path, f"the file has {stat.st_size} bytes; a job file has at most {guard.MAX_BYTES}"
                )
            key = f"{stat.st_ino}:{stat.st_mtime_ns}:{stat.st_size}:{path.name}:{blake3(source).hexdigest()}"
            try:
                path.name.encode()
            except UnicodeEncodeError:
                return self._decline(path, "the name of the file is not UTF-8; rename it")
            try:
                job = self._admit_once(self._resolve(source, _plain(path.stem), key, path.name))
            except Refused as refused:
                return self._decline(path, str(refused))
            self._mirror.settle(job.id)
            return Admitted(self._known(job))

    def submit(self, source: bytes, name: str) -> JobRow:
        """Admit a job that comes as bytes; `name` as a file name. Raises Refused."""
        stem = Path(name.replace("\\", "/")).name
        stem = stem.rpartition(".")[0] if stem.lower().endswith(ENDINGS) else stem
        with self._folders.lock:
            job = self._store.jobs.admit(self._resolve(source, _plain(stem), f"submit:{uuid.uuid4()}", None))
            self._mirror.settle(job.id)
            return self._known(job)

    def _known(self, job: JobRow) -> JobRow:
        """The job as it stands now, or as it was admitted: that it was must be told even where the index fails now."""
        try:
            return self._store.jobs.get(job.id) or job
        except StoreUnavailable:
            return job

    def _admit_once(self, new: NewJob) -> JobRow:
        """The job of this very file. One that was moved away already makes room for a new file that looks the same."""
        job = self._store.jobs.admit(new)
        for number in itertools.count(2):
            if job.mirrored == "inbox":
                break
            job = self._store.jobs.admit(replace(new, admission_key=f"{new.admission_key}:{number}"))
        return job

    def _decline(self, path: Path, reason: str) -> Declined:
        reason = "\n".join(f"{display(os.fsencode(path.name))}: {line}" for line in reason.splitlines())
        return Declined(reason, self._folders.refuse(path, reason))

    def _resolve(self, source: bytes, name: str, key: str, inbox_name: str | None) -> NewJob:
        document = guard.read(source)
        kinds = self._kinds()
        job = read_job(document, kinds)
        try:
            check_pattern(job.output.name)
            folder = output_folder(job.output.folder, self._output)
            drafts: list[Draft] = kinds[job.kind](job, self._desk)
            self._desk.check_total(len(drafts))
            items = self._items(job, drafts, folder, name)
        except FieldProblem as problem:
            raise refusal(document, [problem]) from None
        return NewJob(name, job.kind, source, key, inbox_name, job.priority, items)

    def _items(self, job: Job, drafts: Sequence[Draft], folder: Path, name: str) -> tuple[NewItem, ...]:
        now = datetime.fromtimestamp(self._clock()).astimezone()
        shared = {"name": name, "date": f"{now:%Y-%m-%d}", "time": f"{now:%H%M%S}"}
        words = [words_of(draft.recipe, index, len(drafts), shared) for index, draft in enumerate(drafts)]
        there = _names_in(folder) | self._claimed(folder)
        names = names_of(complete_pattern(job.output.name, len(drafts)), words, there.__contains__)
        items = tuple(
            NewItem(index, draft.recipe.seed, os.fsencode(folder / file_name), _settings(draft, job))
            for index, (draft, file_name) in enumerate(zip(drafts, names, strict=True))
        )
        self._claim(items)
        return items

    def _claimed(self, folder: Path) -> set[str]:
        """Names in `folder` that items not yet made will have, as far as this process knows; casefolded.

        A name too many is harmless, and one too few is noticed when the picture is published.
        """
        if self._names is None or self._claims > self._claims_limit:
            self._names, self._claims = {}, 0
            for job in self._store.jobs.unfinished():
                self._claim(self._store.jobs.items(job.id))
            self._claims_limit = 2 * self._claims + CLAIMS_KEPT
        return self._names.get(_key(folder), set())

    def _claim(self, items: Iterable[NewItem | ItemRow]) -> None:
        if self._names is None:
            return
        for item in items:
            folder, name = os.path.split(os.fsdecode(item.path))
            self._names.setdefault(_key(Path(folder)), set()).add(name.casefold())
            self._claims += 1


def _key(folder: Path) -> str:
    return str(folder).casefold()


def _settings(draft: Draft, job: Job) -> dict[str, Any]:
    settings: dict[str, Any] = {"recipe": draft.recipe.model_dump(mode="json")}
    if draft.input_path is not None:
        settings["input_path"] = draft.input_path
    if draft.mask_path is not None:
        settings["mask_path"] = draft.mask_path
    for key in ("control_paths", "reference_paths"):
        if paths := getattr(draft, key):
            settings[key] = list(paths)
    if draft.notes:
        settings["notes"] = list(draft.notes)
    if job.keep is not None:
        settings["keep"] = job.keep.model_dump(mode="json", exclude_none=True)
    return settings


def _names_in(folder: Path) -> set[str]:
    try:
        return {name.casefold() for name in os.listdir(folder)}
    except FileNotFoundError:
        return set()
    except OSError as error:
        if is_machines_fault(error):
            raise
        reason = error.strerror or type(error).__name__
        raise FieldProblem(("output", "folder"), f"output.folder: {folder} cannot be listed: {reason}") from None


def _plain(stem: str) -> str:
    """The name of a job: what moves the cursor or turns the direction of a line becomes `_`, as in names of files."""
    text = stem.encode("utf-8", "replace").decode()[:NAME_CHARACTERS]
    return "".join("_" if unicodedata.category(sign) in UNSEEN else sign for sign in text) or "job"
