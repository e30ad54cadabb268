"""Admits job files: parsed, planned, and stored in the ledger in one transaction."""

from __future__ import annotations

import itertools
import os
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from blake3 import blake3

from indexd import model_roles
from indexd.config import Config
from indexd.errors import JobRefused, NotRegularFile, StoreUnavailable, is_transient_os_error
from indexd.fs.paths import display
from indexd.fs.safe_open import open_regular
from indexd.jobs.admission.input_selection import InputSelector
from indexd.jobs.admission.masks import MaskResolver
from indexd.jobs.admission.planner import InputSources, JobLimits, JobPlanner
from indexd.jobs.admission.prompts import PromptResolver
from indexd.jobs.admission.regenerate import ImageRecipeReader
from indexd.jobs.admission.scoring import ScoreValidator
from indexd.jobs.admission.series import Series, plan_sheet, read_series
from indexd.jobs.admission.template_expansion import TemplateExpander
from indexd.jobs.admission.template_files import TemplateFiles
from indexd.jobs.files.folders import JOB_FILE_SUFFIXES, is_job_file_name
from indexd.jobs.files.output_names import (
    INVISIBLE_CATEGORIES,
    check_pattern,
    complete_pattern,
    free_file_name,
    placeholder_values,
    resolve_output_folder,
    safe_name,
    unique_file_names,
)
from indexd.jobs.files.sync import JobFileSync
from indexd.jobs.kinds import JobKind, PlannedItem
from indexd.jobs.loras.registry import LoraRegistry
from indexd.jobs.parsing import yaml_guard
from indexd.jobs.parsing.validation import FieldError, build_refusal, parse_job
from indexd.jobs.parsing.yaml_guard import YamlDocument
from indexd.jobs.queue.series_sheet import SHEET_KEY, SHEET_SUFFIX
from indexd.model_files import ModelCatalogue
from indexd.registry import job_kinds
from indexd.store.protocols import IndexStore
from indexd.store.records import JobItemRow, JobRow, NewJob, NewJobItem
from indexd_schemas.image_format import DEFAULT_QUALITY, OutputEncoding
from indexd_schemas.jobs.job import Job, JobBase


@dataclass(frozen=True, slots=True)
class Admitted:
    """The file is a job in the ledger now (or was already, when the same file was seen before)."""

    job: JobRow


@dataclass(frozen=True, slots=True)
class Declined:
    """The file was moved to `failed/` with the reason beside it."""

    reason: str
    path: Path


@dataclass(frozen=True, slots=True)
class Ignored:
    """The file is no job file: another suffix, in a folder below the inbox, or gone."""


MAX_NAME_CHARACTERS = 200
RESERVED_NAMES_KEPT = 50_000
"""Reserved names are read again from the ledger when there are so many, and twice those of unfinished jobs."""


class Admission:
    """Admits job files, from the inbox or as bytes.

    The row comes first and holds the file's bytes; the move of the file follows and can be repeated. `admission_key` names
    the file (inode, times, size, content), so admitting it again after a crash in between is harmless.
    """

    def __init__(
        self,
        store: IndexStore,
        file_sync: JobFileSync,
        planner: JobPlanner,
        kinds: Callable[[], Mapping[str, JobKind[Any]]],
        output: Path,
        clock: Callable[[], float],
        templates: TemplateFiles,
    ) -> None:
        """`kinds` gives the job kinds by name; `output` is the folder of jobs that name none."""
        self._store = store
        self._file_sync = file_sync
        self._folders = file_sync.folders
        self._planner = planner
        self._kinds = kinds
        self._output = output
        self._clock = clock
        self._templates = templates
        self._reserved: dict[str, set[str]] | None = None
        self._reserved_count = self._reserved_limit = 0

    @classmethod
    def from_config(
        cls,
        config: Config,
        store: IndexStore,
        catalogue: ModelCatalogue,
        file_sync: JobFileSync,
        clock: Callable[[], float],
        random_bits: Callable[[int], int],
    ) -> Admission:
        """The admission by these settings; `random_bits(n)` gives random seeds."""
        settings, places = config.settings.generate, config.paths
        encoding = OutputEncoding(
            format=settings.output_format,
            quality=settings.output_quality or DEFAULT_QUALITY[settings.output_format],
        )
        limits = JobLimits(settings.max_images_per_job, settings.max_megapixels, encoding)
        selector = InputSelector(store, places.inbox, limits.max_images)
        planner = JobPlanner(
            catalogue,
            PromptResolver(catalogue, LoraRegistry(places.lora_registry), settings.loras),
            InputSources(
                selector,
                MaskResolver(store, selector, has_detectors=bool(config.settings.faces.detectors)),
                ImageRecipeReader(store, catalogue),
            ),
            ScoreValidator(
                partial(model_roles.require_role, config),
                model_roles.aesthetic_head_path(config),
                partial(model_roles.clip_h_dimension, config),
            ),
            limits,
            random_bits,
            TemplateExpander(places.wildcards, random_bits),
            model_roles.control_map_models(config),
        )
        return cls(store, file_sync, planner, job_kinds.kinds, places.output, clock, TemplateFiles(places.templates))

    def admit_file(self, path: Path) -> Admitted | Declined | Ignored:
        """Admit a file of the inbox, or refuse it. Raises StorageFull or OSError where the disk is at fault."""
        if not is_job_file_name(path.name) or path.parent != self._folders.inbox:
            return Ignored()
        with self._folders.lock:
            self._file_sync.settle_all()  # a file whose row is there already goes its way, and is not read again
            try:
                with open_regular(os.fsencode(path)) as file:
                    stat = os.fstat(file.fileno())
                    source = file.read(yaml_guard.MAX_BYTES + 1)
            except (FileNotFoundError, NotRegularFile):
                return Ignored()
            except PermissionError:
                return self._decline(path, "the file may not be read; change its permissions")
            if stat.st_size > yaml_guard.MAX_BYTES:
                return self._decline(
                    path, f"the file has {stat.st_size} bytes; a job file has at most {yaml_guard.MAX_BYTES}"
                )
            key = f"{stat.st_ino}:{stat.st_mtime_ns}:{stat.st_size}:{path.name}:{blake3(source).hexdigest()}"
            try:
                path.name.encode()
            except UnicodeEncodeError:
                return self._decline(path, "the name of the file is not UTF-8; rename it")
            try:
                job = self._admit_once(self._plan_job(source, _printable_name(_job_stem(path.name)), key, path.name))
            except JobRefused as refused:
                return self._decline(path, str(refused))
            self._file_sync.settle(job.id)
            return Admitted(self._current_row(job))

    def submit(self, source: bytes, name: str) -> JobRow:
        """Admit a job that comes as bytes; `name` as a file name. Raises JobRefused."""
        stem = _job_stem(Path(name.replace("\\", "/")).name)
        with self._folders.lock:
            new = self._plan_job(source, _printable_name(stem), f"submit:{uuid.uuid4()}", None)
            self._reserve(new.items)
            job = self._store.jobs.admit(new)
            self._file_sync.settle(job.id)
            return self._current_row(job)

    def preview(self, source: bytes, name: str) -> NewJob:
        """The job as `submit` would admit it now; writes nothing. Raises JobRefused."""
        stem = _job_stem(Path(name.replace("\\", "/")).name)
        with self._folders.lock:
            return self._plan_job(source, _printable_name(stem), "preview", None)

    def _current_row(self, job: JobRow) -> JobRow:
        """The current row, or the admitted one where the index cannot be read now: the caller must learn of the admission."""
        try:
            return self._store.jobs.get(job.id) or job
        except StoreUnavailable:
            return job

    def _admit_once(self, new: NewJob) -> JobRow:
        """The job of this file. A new file with the same admission key as one that was moved away becomes a new job."""
        self._reserve(new.items)
        job = self._store.jobs.admit(new)
        for number in itertools.count(2):
            if job.file_location == "inbox":
                break
            job = self._store.jobs.admit(replace(new, admission_key=f"{new.admission_key}:{number}"))
        return job

    def _decline(self, path: Path, reason: str) -> Declined:
        reason = "\n".join(f"{display(os.fsencode(path.name))}: {line}" for line in reason.splitlines())
        return Declined(reason, self._folders.refuse(path, reason))

    def _plan_job(self, source: bytes, name: str, key: str, inbox_name: str | None) -> NewJob:
        document, template_files = self._merge_template(yaml_guard.parse_yaml(source))
        kinds = self._kinds()
        try:
            series = self._read_series(document, kinds)
        except FieldError as problem:
            raise build_refusal(document, [problem]) from None
        if series is None:
            job = parse_job(document, kinds)
            planned = self._plan_combination(document, job, kinds)
        else:
            document = series.base
            job, planned = self._plan_series(series, kinds)
        kind = kinds[job.kind]
        try:
            folder = resolve_output_folder(job.output.folder, self._output)
            check_pattern(job.output.name, {name for item in planned for name in item.name_values})
            items = self._name_items(job, planned, folder, name, kind.suffix)
        except FieldError as problem:
            raise build_refusal(document, [problem]) from None
        if template_files:
            used = {**template_files, **items[0].settings.get("template_files", {})}
            items = (replace(items[0], settings={**items[0].settings, "template_files": used}), *items[1:])
        return NewJob(name, job.kind, source, key, inbox_name, job.priority, items)

    def _read_series(self, document: YamlDocument, kinds: Mapping[str, JobKind[Any]]) -> Series | None:
        kind = kinds.get(str(document.data.get("kind")))
        if kind is None or not issubclass(kind.schema, Job):
            return None
        series = read_series(document, kind.schema, self._planner.draw_seed)
        if series is not None:
            self._planner.check_series(series)
        return series

    def _plan_combination(
        self, document: YamlDocument, job: JobBase, kinds: Mapping[str, JobKind[Any]]
    ) -> Sequence[PlannedItem]:
        try:
            planned = kinds[job.kind].plan(job, self._planner)
            self._planner.check_image_count(len(planned))
        except FieldError as problem:
            raise build_refusal(document, [problem]) from None
        return planned

    def _plan_series(self, series: Series, kinds: Mapping[str, JobKind[Any]]) -> tuple[JobBase, Sequence[PlannedItem]]:
        """The job of the first combination, and the items of all, with the sheet behind them."""
        jobs: list[JobBase] = []
        combinations: list[Sequence[PlannedItem]] = []
        for combination in series.combinations():
            try:
                document = series.document(combination)
            except FieldError as problem:
                raise build_refusal(series.base, [problem]) from None
            jobs.append(parse_job(document, kinds))
            combinations.append(self._plan_combination(document, jobs[-1], kinds))
            try:
                self._planner.check_series(series, len(combinations[-1]))
                if len(combinations[-1]) != len(combinations[0]):
                    raise FieldError(series.source, "every combination of a series must make the same number of images")
            except FieldError as problem:
                raise build_refusal(series.base, [problem]) from None
        names = [
            f"seed {item.seed}" if len({one.seed for one in combinations[0]}) > 1 else f"image {number}"
            for number, item in enumerate(combinations[0], 1)
        ]
        sheet = PlannedItem(
            {SHEET_KEY: plan_sheet(series.axes, names).to_settings()}, suffix=SHEET_SUFFIX, is_sheet=True
        )
        return jobs[0], [*(item for items in combinations for item in items), sheet]

    def _merge_template(self, document: YamlDocument) -> tuple[YamlDocument, Mapping[str, str]]:
        """The job with the keys of its template file, and the files read for that."""
        try:
            merged = self._templates.merge(document)
        except FieldError as problem:
            raise build_refusal(document, [problem]) from None
        return merged.document, merged.files

    def _name_items(
        self, job: JobBase, planned: Sequence[PlannedItem], folder: Path, name: str, suffix: str
    ) -> tuple[NewJobItem, ...]:
        now = datetime.fromtimestamp(self._clock()).astimezone()
        shared = {"name": name, "kind": job.kind, "date": f"{now:%Y-%m-%d}", "time": f"{now:%H%M%S}"}
        count = sum(not item.is_sheet for item in planned)
        values = [placeholder_values(item.name_values, index, count, shared) for index, item in enumerate(planned)]
        taken = _existing_names(folder) | self._reserved_names(folder)
        suffixes = [item.suffix or suffix for item in planned]
        names = unique_file_names(
            complete_pattern(job.output.name, count), values[:count], suffixes[:count], taken.__contains__
        )
        if count < len(planned):
            names.append(free_file_name(safe_name(name), SHEET_SUFFIX, taken.__contains__))
        return tuple(
            NewJobItem(index, item.seed, os.fsencode(folder / file_name), _item_settings(item, job), item.is_sheet)
            for index, (item, file_name) in enumerate(zip(planned, names, strict=True))
        )

    def _reserved_names(self, folder: Path) -> set[str]:
        """Names in `folder` that items not yet made will have, as far as this process knows; casefolded.

        A name too many is harmless, and one too few is noticed when the image is published.
        """
        if self._reserved is None or self._reserved_count > self._reserved_limit:
            self._reserved, self._reserved_count = {}, 0
            for job in self._store.jobs.unfinished():
                self._reserve(self._store.jobs.items(job.id))
            self._reserved_limit = 2 * self._reserved_count + RESERVED_NAMES_KEPT
        return self._reserved.get(_folder_key(folder), set())

    def _reserve(self, items: Iterable[NewJobItem | JobItemRow]) -> None:
        if self._reserved is None:
            return
        for item in items:
            folder, name = os.path.split(os.fsdecode(item.path))
            self._reserved.setdefault(_folder_key(Path(folder)), set()).add(name.casefold())
            self._reserved_count += 1


def _folder_key(folder: Path) -> str:
    return str(folder).casefold()


def _item_settings(item: PlannedItem, job: JobBase) -> dict[str, Any]:
    settings = dict(item.settings)
    if item.notes:
        settings["notes"] = list(item.notes)
    if isinstance(job, Job) and job.keep is not None and not item.is_sheet:
        settings["keep"] = job.keep.model_dump(mode="json", exclude_none=True)
    return settings


def _existing_names(folder: Path) -> set[str]:
    try:
        return {name.casefold() for name in os.listdir(folder)}
    except FileNotFoundError:
        return set()
    except OSError as error:
        if is_transient_os_error(error):
            raise
        reason = error.strerror or type(error).__name__
        raise FieldError(("output", "folder"), f"output.folder: {folder} cannot be listed: {reason}") from None


def _job_stem(name: str) -> str:
    """The name of a job file without its suffix."""
    suffix = max((one for one in JOB_FILE_SUFFIXES if name.lower().endswith(one)), key=len, default="")
    return name[: len(name) - len(suffix)]


def _printable_name(stem: str) -> str:
    """The name of a job: what moves the cursor or turns the direction of a line becomes `_`, as in names of files."""
    text = stem.encode("utf-8", "replace").decode()[:MAX_NAME_CHARACTERS]
    return "".join("_" if unicodedata.category(sign) in INVISIBLE_CATEGORIES else sign for sign in text) or "job"
