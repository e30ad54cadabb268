"""The operations in this process, over a real index, with and without a daemon's live parts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote_from_bytes

import pytest

from indexd.api.connect import connect
from indexd.api.context import DaemonContext
from indexd.api.local import LocalOperations
from indexd.api.operations import annotation, images, jobs
from indexd.api.operations import library as library_operations
from indexd.api.operations.models import verify_model
from indexd.api.operations.status import status
from indexd.config import Config, read_config
from indexd.errors import DaemonNotRunning, ModelUnavailable, NothingFound, StoreError, UsageError
from indexd.fs.file_stamp import FileStamp
from indexd.image_metadata.model import ImageMetadata
from indexd.search.query.image_target import format_target, target_of_path
from indexd.store.protocols import IndexStore
from indexd.store.records import JobRow, NewJob, NewJobItem, ScannedFile
from indexd.store.sqlite.store import SqliteStore
from indexd.watch.roots import RootStatus
from indexd.worker.call_handle import CallHandle, LaneStatus, OnProgress
from indexd.worker.calls import AnyCall, CallProgress, ModelVerified, Priority, VerifyModel
from indexd_schemas.api.annotations import AnnotateMatchingRequest, ForgetRequest, RelocateRequest
from indexd_schemas.api.requests import (
    ImageSelector,
    JobListRequest,
    JobSelector,
    RateRequest,
    ScanRequest,
    SearchRequest,
    SubmitRequest,
    TagRequest,
    VerifyModelRequest,
)
from indexd_schemas.model_roles import ROLES
from tests.support.sample_library import SampleLibrary, make_library


def selector(path: str | Path) -> ImageSelector:
    return ImageSelector(target=format_target(target_of_path(path)))


@dataclass
class Desk:
    """Jobs that keep what they were asked, on the real ledger."""

    store: IndexStore
    asked: list[tuple[str, object]] = field(default_factory=list)
    progress: Mapping[int, CallProgress] = field(default_factory=dict)

    def submit(self, source: bytes, name: str) -> JobRow:
        self.asked.append(("submit", name))
        item = NewJobItem(0, 5, b"/out/x-0001.png", {"seed": 5})
        return self.store.jobs.admit(NewJob(Path(name).stem, "txt2img", source, f"key-{name}", None, 0, (item,)))

    def cancel(self, job_id: int) -> None:
        self.asked.append(("cancel", job_id))
        self.store.jobs.cancel(job_id)

    def retry(self, job_id: int) -> None:
        self.asked.append(("retry", job_id))


@dataclass
class Watching:
    """A watch service that only says how it stands."""

    root: bytes
    scans: list[bool] = field(default_factory=list)

    def status(self) -> list[RootStatus]:
        return [RootStatus(1, self.root, "images", "native", "events arrive", True, "1:2", 1000.0, 3, 4)]

    def scan(self, root_id: int | None = None, wait: bool = False) -> None:
        self.scans.append(wait)


class Working:
    """Workers that verify anything."""

    def __init__(self) -> None:
        self.calls: list[AnyCall] = []

    def submit(
        self,
        call: AnyCall,
        *,
        priority: Priority = Priority.JOB,
        on_progress: OnProgress | None = None,
        timeout_seconds: float | None = None,
    ) -> CallHandle:
        self.calls.append(call)
        handle = CallHandle(call)
        handle.finish(ModelVerified("revision", "cpu, float32, 16 numbers"))
        return handle

    def status(self) -> list[LaneStatus]:
        return [LaneStatus("gpu", 42, True, 1, 2, 0, {"generator": 3.0})]

    def role_problem(self, role: str) -> str | None:
        return None

    def role_fingerprint(self, role: str) -> str | None:
        return None

    def stop(self, deadline: float) -> None:
        raise AssertionError("the daemon's workers are not ours to stop")


@pytest.fixture
def config(short_home: Path) -> Config:
    return read_config(short_home, {"roots": [{"path": str(short_home / "pictures"), "exclude": ["private/**"]}]})


@pytest.fixture
def library(config: Config) -> Iterator[SampleLibrary]:
    with SqliteStore.open(config.paths.index) as store:
        yield make_library(store, config.paths.home / "pictures", images_per_subject=2)


@pytest.fixture
def live(library: SampleLibrary) -> DaemonContext:
    return DaemonContext(Watching(os.fsencode(library.root)), Working(), Desk(library.store), 1.0, lambda: None)


@pytest.fixture
def alone(config: Config, library: SampleLibrary) -> LocalOperations:
    return LocalOperations(config, library.store)


@pytest.fixture
def within(config: Config, library: SampleLibrary, live: DaemonContext) -> LocalOperations:
    return LocalOperations(config, library.store, live)


def test_a_model_that_cannot_be_loaded_is_shown_as_off_with_the_reason(
    config: Config, library: SampleLibrary, tmp_path: Path
) -> None:
    (tmp_path / "bge").mkdir()
    settings = {"models": {"bge": {"path": str(tmp_path / "bge")}}}
    watching = Watching(os.fsencode(library.root))
    broken = read_config(config.paths.home, settings)
    with_trouble = DaemonContext(
        watching, Working(), Desk(library.store), 1.0, blocked_roles=lambda: {"bge": "its weights are damaged"}
    )
    bge = {role.role: role for role in LocalOperations(broken, library.store, with_trouble).call(status).roles}["bge"]
    assert (bge.on, bge.detail) == (False, "its weights are damaged")
    bge = {role.role: role for role in LocalOperations(broken, library.store).call(status).roles}["bge"]
    assert (bge.on, bge.detail) == (True, str(tmp_path / "bge"))


def test_show_has_everything_but_secrets(alone: LocalOperations, library: SampleLibrary) -> None:
    shown = alone.call(images.show, selector(library.path("cats/cat-0.png")))
    assert shown.image.prompt == "a cat number 0, oil painting"
    assert shown.image.loras[0].name == "my lora"
    assert [file.path for file in shown.files] == [library.path("cats/cat-0.png")]
    assert shown.extras == {"Clip skip": "2"}
    assert "SECRET" not in shown.raw["png:parameters"]
    with pytest.raises(NothingFound, match="explain"):
        alone.call(images.show, ImageSelector(target=f"id:{999}"))


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("png:prompt", r'{"1": {"inputs": {"image": "https:\/\/x\/a.png?w=1\u0026X-Amz-Signature=SECRET"}}}'),
        ("exif:UserComment", "a cat\nSteps: 1, Seed: 1, Init: https://x/a?token=SECRET&w=1"),
        ("xmp", "<rdf:li>https://x/a?b=1&amp;sig=SECRET</rdf:li>"),
    ],
)
def test_signatures_are_taken_off_every_text_that_is_shown(
    alone: LocalOperations, library: SampleLibrary, key: str, text: str
) -> None:
    from indexd.image_metadata.model import RawChunk
    from indexd.images.image_reader import parse_metadata

    library.add("signed.png", parse_metadata([RawChunk(key, "utf-8", text)]))
    shown = alone.call(images.show, selector(library.path("signed.png")))
    assert "SECRET" not in shown.raw[key]
    assert "…" in shown.raw[key]
    assert "SECRET" not in shown.model_dump_json()


def test_show_takes_texts_that_are_no_unicode(alone: LocalOperations, library: SampleLibrary) -> None:
    from indexd.image_metadata.model import RawChunk

    library.add(
        "odd.png",
        ImageMetadata(prompt="x", raw=(RawChunk("png:a", "utf-8", "bad \udcff"), RawChunk("png:a", "utf-8", "two"))),
    )
    shown = alone.call(images.show, selector(library.path("odd.png")))
    assert shown.raw == {"png:a": "bad ?", "png:a#2": "two"}
    shown.model_dump_json()


def test_rating_and_tagging_by_any_name_of_a_picture(
    alone: LocalOperations, library: SampleLibrary, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.png"
    copy.write_bytes((library.root / "cats/cat-0.png").read_bytes())
    ids = library.ids
    cat = f"id:{ids['cats/cat-0.png']}"
    targets = (selector(copy).target, cat, selector(tmp_path / "gone.png").target, "id:999")
    marked = alone.call(annotation.rate, RateRequest(targets=targets, rating=4))
    assert marked.changed == 1
    assert marked.not_found == [str(tmp_path / "gone.png"), "#999"]
    alone.call(annotation.tag, TagRequest(targets=(cat,), add=("keep", " spaced ")))
    shown = alone.call(images.show, ImageSelector(target=f"id:{ids['cats/cat-0.png']}"))
    assert (shown.image.rating, shown.image.tags) == (4, ["keep", "spaced"])
    alone.call(annotation.tag, TagRequest(targets=(cat,), remove=("keep",)))
    assert alone.call(images.query, SearchRequest(filters=("tag:keep",))).hits == []
    for tag in ("", " ", "two\nlines", "x" * 201):
        with pytest.raises(UsageError, match="is not a valid tag"):
            alone.call(annotation.tag, TagRequest(targets=("id:1",), add=(tag,)))


def test_a_target_that_names_no_image_is_refused(alone: LocalOperations) -> None:
    with pytest.raises(UsageError, match="names no image"):
        alone.call(annotation.rate, RateRequest(targets=("../../etc",), rating=5))
    with pytest.raises(UsageError, match="only a path can be explained"):
        alone.call(images.explain, ImageSelector(target="id:4"))


def test_explain_says_what_the_index_knows(alone: LocalOperations, library: SampleLibrary, config: Config) -> None:
    def explain(name: str) -> tuple[str, str]:
        found = alone.call(images.explain, selector(library.root / name))
        return found.state, " | ".join(found.sentences)

    assert explain("cats/cat-0.png")[0] == "indexed"
    library.add("waiting.png", ImageMetadata(prompt="p"), stages=("thumbnail", "clip_h"))
    state, text = explain("waiting.png")
    assert state == "pending"
    assert "thumbnail is still to be computed" in text
    assert "clip_h waits: clip_h is off, because no model is set" in text
    (library.root / "cats/cat-1.png").write_bytes(b"something else")
    assert "it has changed since" in explain("cats/cat-1.png")[1]
    stamp = FileStamp(1, 1, 1)
    library.store.images.ingest([ScannedFile(library.root_id, b"note.txt", stamp, None, "not a picture: text")], 1.0)
    assert explain("note.txt") == (
        "skipped",
        "it was read and skipped: not a picture: text | it does not exist any more; the next scan will mark it as missing",
    )
    library.store.files.mark_missing(library.root_id, [b"dogs/dog-0.png"], 1.0)
    assert explain("dogs/dog-0.png")[0] == "missing"
    library.store.roots.set_state(library.root_id, online=False, identity=None, mode="poll", reason="not mounted")
    assert "offline (not mounted)" in explain("dogs/dog-1.png")[1]


def test_explain_says_what_the_rules_say_of_the_rest(
    alone: LocalOperations, within: LocalOperations, library: SampleLibrary, config: Config, tmp_path: Path
) -> None:
    def explain(path: Path) -> tuple[str, str]:
        found = alone.call(images.explain, selector(path))
        return found.state, " | ".join(found.sentences)

    (library.root / "private").mkdir()
    for name in ("private/a.png", ".hidden.png", "half.png.part", "fresh.png"):
        (library.root / name).touch()
    assert explain(library.root / "private/a.png")[0] == "ignored"
    assert explain(library.root / ".hidden.png")[0] == "ignored"
    assert explain(library.root / "half.png.part")[0] == "ignored"
    assert explain(library.root / "nothing.png")[0] == "unknown"
    state, text = explain(library.root / "fresh.png")
    assert state == "unknown"
    assert "daemon is not running" in text
    assert "no program writes" in within.call(images.explain, selector(library.root / "fresh.png")).sentences[0]
    (tmp_path / "x.png").touch()
    state, text = explain(tmp_path / "x.png")
    assert state == "outside"
    assert str(library.root) in text
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "y.png").touch()
    (library.root / "linked").symlink_to(tmp_path / "elsewhere")
    if not (library.root / "linked").is_symlink():
        pytest.skip("Wine shows links as folders")
    state, text = explain(library.root / "linked" / "y.png")
    assert state == "ignored"
    assert f"{library.root / 'linked'} is a link" in text
    assert f"add {tmp_path / 'elsewhere'} as [[roots]]" in text
    config.paths.output.mkdir()
    (config.paths.output / "made.png").touch()
    assert explain(config.paths.output / "made.png")[0] == "unknown"
    if hasattr(os, "mkfifo"):
        os.mkfifo(library.root / "pipe.png")
        assert explain(library.root / "pipe.png")[0] == "skipped"


def test_status_without_a_daemon(alone: LocalOperations, library: SampleLibrary) -> None:
    library.store.events.add("offline", "a folder went away")
    library.store.files.mark_missing(library.root_id, [b"dogs/dog-0.png"], 1.0)
    found = alone.call(status)
    assert (found.running, found.pid, found.workers) == (False, None, [])
    assert (found.images, found.files, found.missing_files) == (8, 7, 1)
    assert [root.path for root in found.roots] == [str(library.root)]
    assert {role.role for role in found.roles if not role.on} == {*ROLES, "faces"}
    assert found.events[0].text == "a folder went away"
    assert found.index_bytes > 10_000


def test_status_within_the_daemon(within: LocalOperations) -> None:
    found = within.call(status)
    assert found.running
    assert found.pid == os.getpid()
    assert (found.roots[0].mode, found.roots[0].pending, found.roots[0].lost_events) == ("native", 3, 4)
    assert (found.workers[0].lane, found.workers[0].deaths, found.workers[0].models) == ("gpu", 1, {"generator": 3.0})


def test_what_needs_the_daemon_says_so(alone: LocalOperations, library: SampleLibrary) -> None:
    Desk(library.store).submit(b"kind: txt2img\n", "one.yaml")
    for ask in (
        lambda: alone.call(library_operations.scan, ScanRequest()),
        lambda: alone.call(jobs.submit, SubmitRequest(name="x.yaml", source="")),
        lambda: alone.call(jobs.cancel_job, JobSelector(which="1")),
        lambda: alone.call(jobs.retry_job, JobSelector(which="1")),
    ):
        with pytest.raises(DaemonNotRunning, match="indexd run"):
            ask()


def test_jobs_by_number_and_by_name(within: LocalOperations, live: DaemonContext) -> None:
    shown = within.call(jobs.submit, SubmitRequest(name="one.yaml", source="kind: txt2img\n"))
    assert (shown.job.name, shown.job.items, shown.source) == ("one", {"queued": 1}, "kind: txt2img\n")
    assert shown.items[0].seed == 5
    by_id = within.call(jobs.show_job, JobSelector(which=str(shown.job.id)))
    assert by_id == within.call(jobs.show_job, JobSelector(which="one"))
    assert within.call(jobs.list_jobs, JobListRequest(states=("done",))).jobs == []
    assert [job.id for job in within.call(jobs.list_jobs, JobListRequest()).jobs] == [shown.job.id]
    assert within.call(jobs.cancel_job, JobSelector(which="one")).job.state == "cancelled"
    with pytest.raises(NothingFound, match="jobs list"):
        within.call(jobs.show_job, JobSelector(which="nobody"))
    for name in ("../x.yaml", "a\\b.yaml", ".."):
        with pytest.raises(UsageError):
            within.call(jobs.submit, SubmitRequest(name=name, source=""))


def test_scan_waits_for_what_it_led_to(config: Config, library: SampleLibrary) -> None:
    drained = []
    watching = Watching(os.fsencode(library.root))
    within = LocalOperations(
        config, library.store, DaemonContext(watching, Working(), Desk(library.store), 1.0, lambda: drained.append(1))
    )
    assert within.call(library_operations.scan, ScanRequest(wait=False)).waited is False
    assert drained == []
    assert within.call(library_operations.scan, ScanRequest()).images == 8
    assert (watching.scans, drained) == ([False, True], [1])


def test_verify_asks_the_workers(config: Config, library: SampleLibrary, live: DaemonContext, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="bge is off"):
        LocalOperations(config, library.store, live).call(verify_model, VerifyModelRequest(role="bge"))
    with pytest.raises(UsageError, match="roles are"):
        LocalOperations(config, library.store, live).call(verify_model, VerifyModelRequest(role="nose"))
    with_model = read_config(config.paths.home, {"models": {"bge": {"path": str(tmp_path)}}})
    verified = LocalOperations(with_model, library.store, live).call(verify_model, VerifyModelRequest(role="bge"))
    assert (verified.ok, verified.identity) == (True, "revision")
    assert live.workers.calls == [VerifyModel("bge")]  # type: ignore[attr-defined]


def test_reading_beside_a_writer_and_writing_under_the_lock(
    config: Config, library: SampleLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexd.api.connect.LOCK_WAIT_SECONDS", 0.1)
    reader = connect(config)
    assert reader.call(status).images == 8
    reader.close()
    library.store.close()
    first = connect(config, write=True)
    try:
        assert first.call(annotation.rate, RateRequest(targets=("id:1",), rating=3)).changed == 1
        with pytest.raises(StoreError, match="another indexd"):
            connect(config, write=True)
    finally:
        first.close()
    second = connect(config, write=True)
    assert second.call(images.show, ImageSelector(target=f"id:{1}")).image.rating == 3
    second.close()


def test_a_watched_tree_is_relocated_and_the_person_told_what_to_change(
    config: Config, library: SampleLibrary, live: DaemonContext, tmp_path: Path
) -> None:
    watched = read_config(config.paths.home, {"roots": [{"path": str(library.root)}]})
    within = LocalOperations(watched, library.store, live)
    new = tmp_path / "other disk"
    request = RelocateRequest(old=quote_from_bytes(os.fsencode(library.root)), new=quote_from_bytes(os.fsencode(new)))
    would = within.call(library_operations.relocate, request.model_copy(update={"dry_run": True}))
    assert within.call(images.show, selector(library.path("cats/cat-0.png"))).image.id == library.ids["cats/cat-0.png"]
    done = within.call(library_operations.relocate, request)
    assert (done.files, done.roots) == (would.files, would.roots) == (len(library.ids), done.roots)
    assert within.call(images.show, selector(new / "cats" / "cat-0.png")).image.id == library.ids["cats/cat-0.png"]
    assert any("still exists" in note for note in done.notes)
    assert any("indexd.toml" in note for note in done.notes)
    assert any("restart the daemon" in note for note in done.notes)
    assert live.watch.scans == [False]  # type: ignore[attr-defined]
    # The watcher goes on under the number that it knows.
    assert library.root_id in [root.id for root in library.store.roots.all()]


def test_more_pictures_than_were_confirmed_are_not_marked(alone: LocalOperations, library: SampleLibrary) -> None:
    request = AnnotateMatchingRequest(filters=("steps:20",), rating=5, at_most=3)
    with pytest.raises(UsageError, match="4 images match now"):
        alone.call(annotation.annotate_matching, request)
    assert alone.call(images.query, SearchRequest(filters=("rating:5",))).hits == []
    assert alone.call(annotation.annotate_matching, request.model_copy(update={"at_most": 4})).changed == 4
    with pytest.raises(UsageError, match="give a rating"):
        alone.call(annotation.annotate_matching, AnnotateMatchingRequest(filters=("steps:20",)))


def test_missing_pictures_are_marked_only_when_they_are_asked_for(
    alone: LocalOperations, library: SampleLibrary
) -> None:
    library.store.files.mark_missing(library.root_id, [b"cats/cat-0.png"], 5.0)
    assert (
        alone.call(annotation.annotate_matching, AnnotateMatchingRequest(filters=("steps:20",), rating=5)).changed == 3
    )
    assert (
        alone.call(annotation.annotate_matching, AnnotateMatchingRequest(filters=("missing:yes",), rating=1)).changed
        == 1
    )


@pytest.mark.parametrize("path", ["relative", "", "/a%00b"])
def test_paths_that_are_none_are_refused(alone: LocalOperations, path: str) -> None:
    with pytest.raises((UsageError, ValueError)):
        alone.call(library_operations.relocate, RelocateRequest(old="/a", new=path))
    with pytest.raises((UsageError, ValueError)):
        alone.call(library_operations.forget, ForgetRequest(under=path))
