"""An image is decoded once for thumbnail, hash, hidden text and every model; where no pixels are left, once more."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from PIL import Image

from indexd.errors import WorkerDied
from indexd.fs.file_stamp import FileStamp
from indexd.image_metadata.model import ImageFacts, ImageMetadata
from indexd.images import decode
from indexd.images.thumbnail import thumbnail_path
from indexd.indexing.batch_failures import RETRY_SECONDS
from indexd.indexing.decoded_images import KEEP_SECONDS, DecodedImages
from indexd.indexing.dispatcher import IndexDispatcher
from indexd.indexing.stages import stages_for
from indexd.indexing.stages.attributes import AttributeStage
from indexd.indexing.stages.index_stage import ThumbnailTarget
from indexd.indexing.stages.registry import register_stage, remove_stage
from indexd.indexing.stages.thumbnail import MAX_BATCH_PIXELS
from indexd.models.image_inputs import iterate_images
from indexd.store.protocols import IndexStore
from indexd.store.records import ScannedFile
from indexd.worker.calls import (
    AnalyseImages,
    AnyCall,
    EmbedImages,
    FindFaces,
    MakeThumbnails,
    ModelSpec,
    WorkerSettings,
)
from indexd.worker.fake_workers import FakeWorkers
from tests.unit.indexing.conftest import Clock

SIZE_PX = 64


class DecodingWorkers(FakeWorkers):
    """Fake models that open the images as the real ones do; `seen` has the pixels that each call was given, by path."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.seen: list[tuple[type, bytes, bytes]] = []
        self.before: Callable[[AnyCall], None] = lambda _call: None

    def _serve(self, call: AnyCall) -> Any:
        self.before(call)
        if isinstance(call, MakeThumbnails):
            return decode.make_thumbnails(call)
        if isinstance(call, EmbedImages | FindFaces | AnalyseImages):
            problems: dict[int, str] = {}
            for group in iterate_images(call.paths, call.pixel_files, 4, problems):
                for place, image in group.items():
                    self.seen.append((type(call), call.paths[place], image.tobytes()))
            assert not problems
        return super()._serve(call)

    def pixels_given(self, kind: type) -> dict[bytes, bytes]:
        return {path: pixels for call, path, pixels in self.seen if call is kind}


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Counter[str]:
    """How often each file was decoded, by its name."""
    counter: Counter[str] = Counter()
    real = decode._decode

    def counting(file: BinaryIO, name: str) -> decode.DecodedImage:
        names = {path.stat().st_ino: path.name for path in (tmp_path / "real images").iterdir()}
        counter[names[os.fstat(file.fileno()).st_ino]] += 1
        return real(file, name)

    monkeypatch.setattr(decode, "_decode", counting)
    return counter


@pytest.fixture(autouse=True)
def caption_stage() -> Iterator[None]:
    @register_stage
    class Captions(AttributeStage):
        name = "caption"
        function = "nowhere:nothing"

    yield
    remove_stage("caption")


@pytest.fixture
def with_captions(settings: WorkerSettings, models: Path) -> WorkerSettings:
    return replace(settings, models={**settings.models, "caption": ModelSpec("caption", str(models), batch_size=4)})


def noise(seed: int, mode: str = "RGB", size: tuple[int, int] = (96, 80)) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], len(mode)), np.uint8)
    return Image.fromarray(values.squeeze())


@pytest.fixture
def add_files(store: IndexStore, tmp_path: Path) -> Callable[..., dict[str, int]]:
    folder = tmp_path / "real images"
    folder.mkdir()
    root = store.roots.ensure(os.fsencode(folder), "images")

    def add_files(*images: tuple[str, Image.Image], **options: Any) -> dict[str, int]:
        ids = {}
        for name, image in images:
            path = folder / name
            image.save(path, **options)
            digest = hashlib.sha256(path.read_bytes()).digest()
            facts = ImageFacts(digest, path.stat().st_size, "PNG", *image.size, 1, ImageMetadata())
            stamp = FileStamp.from_stat(path.stat())
            stages = stages_for(facts, {"face", "caption"})
            scanned = ScannedFile(root.id, os.fsencode(name), stamp, facts, stages=stages)
            ids[name] = store.images.ingest([scanned], 1.0)[0].image_id or 0
        return ids

    return add_files


@pytest.fixture
def dispatcher_with(
    store: IndexStore, with_captions: WorkerSettings, clock: Clock, tmp_path: Path
) -> Callable[[FakeWorkers], IndexDispatcher]:
    def make(workers: FakeWorkers) -> IndexDispatcher:
        workers.settings = with_captions
        target = ThumbnailTarget(str(tmp_path / "thumbnails"), SIZE_PX)
        return IndexDispatcher(store, workers, with_captions, target, now=clock)

    return make


def drain(dispatcher: IndexDispatcher) -> None:
    while dispatcher.step():
        pass


def pixel_files(settings: WorkerSettings) -> Sequence[str]:
    folder = Path(settings.cache_folder, "decoded")
    return sorted(file.name for file in folder.iterdir()) if folder.exists() else []


def test_one_decode_serves_thumbnail_hash_and_every_model(
    store: IndexStore,
    add_files: Callable[..., dict[str, int]],
    dispatcher_with: Callable[[FakeWorkers], IndexDispatcher],
    decodes: Counter[str],
    with_captions: WorkerSettings,
    tmp_path: Path,
) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    names = [f"{number}.png" for number in range(20)]
    ids = add_files(*((name, noise(number)) for number, name in enumerate(names)))
    ids |= add_files(("alpha.png", noise(31, "RGBA")), ("alpha.webp", noise(32, "RGBA")), lossless=True)
    ids |= add_files(("turned.jpg", noise(33)), exif=turned)
    workers = DecodingWorkers()
    drain(dispatcher_with(workers))
    assert store.index_tasks.counts() == {}
    assert decodes == dict.fromkeys(ids, 1)
    paths = store.images.paths(ids.values())
    for kind in (EmbedImages, FindFaces, AnalyseImages):
        assert workers.pixels_given(kind) == {path: decode.open_image(path).tobytes() for path in paths.values()}
    assert pixel_files(with_captions) == [], "everybody has had the pixels"
    for name, image_id in ids.items():
        digest = store.images.content_hashes([image_id])[image_id]
        kept = thumbnail_path(tmp_path / "thumbnails", digest).read_bytes()
        alone = decode.create_thumbnail(paths[image_id], tmp_path / "alone", digest, SIZE_PX)
        assert kept == alone.read_bytes(), name


def test_a_stage_whose_model_is_off_gets_no_pixels_and_decodes_later(
    store: IndexStore,
    add_files: Callable[..., dict[str, int]],
    dispatcher_with: Callable[[FakeWorkers], IndexDispatcher],
    decodes: Counter[str],
    with_captions: WorkerSettings,
    clock: Clock,
) -> None:
    add_files(("a.png", noise(1)))
    workers = DecodingWorkers(disabled_roles={"caption": "it is damaged"})
    dispatcher = dispatcher_with(workers)
    drain(dispatcher)
    assert set(store.index_tasks.counts()) == {"caption"}
    assert pixel_files(with_captions) == [], "nothing is kept for a model that is off"
    assert decodes["a.png"] == 1
    workers.disabled_roles.clear()
    clock.now += 100
    drain(dispatcher)
    assert store.index_tasks.counts() == {}
    assert decodes["a.png"] == 2


def test_a_batch_that_fails_is_retried_without_the_pixels(
    store: IndexStore,
    add_files: Callable[..., dict[str, int]],
    dispatcher_with: Callable[[FakeWorkers], IndexDispatcher],
    decodes: Counter[str],
    with_captions: WorkerSettings,
    clock: Clock,
) -> None:
    (image_id,) = add_files(("a.png", noise(1))).values()
    workers = DecodingWorkers()
    workers.fail_next(WorkerDied("killed"), lambda call: isinstance(call, EmbedImages))
    dispatcher = dispatcher_with(workers)
    drain(dispatcher)
    assert [row.attempts for row in store.index_tasks.of_image(image_id)] == [1]
    clock.now += RETRY_SECONDS
    drain(dispatcher)
    assert store.index_tasks.counts() == {}
    assert decodes["a.png"] == 2
    assert pixel_files(with_captions) == []


def test_pixels_that_vanish_cost_another_decode_and_nothing_else(
    store: IndexStore,
    add_files: Callable[..., dict[str, int]],
    dispatcher_with: Callable[[FakeWorkers], IndexDispatcher],
    with_captions: WorkerSettings,
) -> None:
    ids = add_files(("a.png", noise(1)), ("b.png", noise(2)))
    workers = DecodingWorkers()

    def damage(call: AnyCall) -> None:
        if isinstance(call, EmbedImages):
            first, second = (Path(file) for file in call.pixel_files)
            first.unlink()
            second.write_bytes(second.read_bytes()[:-100])

    workers.before = damage
    drain(dispatcher_with(workers))
    assert store.index_tasks.counts() == {}
    paths = store.images.paths(ids.values())
    assert workers.pixels_given(EmbedImages) == {path: decode.open_image(path).tobytes() for path in paths.values()}
    assert pixel_files(with_captions) == []


def test_a_file_of_pixels_that_a_killed_process_left_is_deleted_at_the_start(
    dispatcher_with: Callable[[FakeWorkers], IndexDispatcher], with_captions: WorkerSettings
) -> None:
    folder = Path(with_captions.cache_folder, "decoded")
    folder.mkdir(parents=True)
    (folder / "left.ppm").write_bytes(b"x" * 100)
    dispatcher = dispatcher_with(DecodingWorkers())
    dispatcher.start()
    dispatcher.drain()
    assert pixel_files(with_captions) == []
    dispatcher.stop()


def test_models_do_not_wait_for_thumbnails_that_cannot_be_written(
    store: IndexStore,
    add_files: Callable[..., dict[str, int]],
    dispatcher_with: Callable[[FakeWorkers], IndexDispatcher],
) -> None:
    add_files(("a.png", noise(1)))
    workers = DecodingWorkers()
    workers.fail_next(OSError(28, "No space left on device"), lambda call: isinstance(call, MakeThumbnails))
    drain(dispatcher_with(workers))
    assert store.index_tasks.counts() == {"thumbnail": {"pending": 1}}


def test_models_wait_while_the_thumbnail_is_being_made(
    store: IndexStore,
    add_files: Callable[..., dict[str, int]],
    dispatcher_with: Callable[[FakeWorkers], IndexDispatcher],
) -> None:
    add_files(("a.png", noise(1)))
    workers = DecodingWorkers()
    workers.hold()
    dispatcher = dispatcher_with(workers)
    drain(dispatcher)
    assert [type(call) for call in workers.calls] == [MakeThumbnails]
    workers.release()
    drain(dispatcher)
    assert store.index_tasks.counts() == {}


def test_large_images_go_in_small_batches(
    store: IndexStore,
    add: Callable[..., list[int]],
    dispatcher_with: Callable[[FakeWorkers], IndexDispatcher],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = add(*(None for _ in range(10)))
    side = MAX_BATCH_PIXELS // 3
    monkeypatch.setattr(store.images, "pixel_counts", lambda some: dict.fromkeys(some, side))
    workers = FakeWorkers()
    drain(dispatcher_with(workers))
    assert [len(call.sources) for call in workers.calls if isinstance(call, MakeThumbnails)] == [3, 3, 3, 1]
    assert not any(row.stage == "thumbnail" for image_id in ids for row in store.index_tasks.of_image(image_id))


def test_pixel_files_stay_within_their_bytes(tmp_path: Path) -> None:
    kept = DecodedImages(str(tmp_path), max_bytes=300)
    assert kept.reserve(1, b"1", 50, {"clip_h", "face"}, 0.0)
    assert kept.reserve(2, b"2", 50, {"clip_h"}, 0.0)
    assert not kept.reserve(3, b"3", 1, {"clip_h"}, 0.0), "full"
    assert kept.files("clip_h", [1, 2]) == ("", ""), "nothing is written yet"
    kept.mark_written(1)
    kept.discard_unwritten([1, 2])
    assert kept.files("clip_h", [1, 2]) == (str(tmp_path / "31.ppm"), "")
    assert kept.files("other", [1]) == ("",)
    assert kept.reserve(3, b"3", 50, {"clip_h"}, 1.0), "an image that was not written makes room"
    kept.release("clip_h", [1])
    assert kept.files("face", [1]) != ("",)
    assert not kept.reserve(4, b"4", 50, {"face"}, 1.0)
    kept.release("face", [1])
    assert kept.reserve(4, b"4", 50, {"face"}, 1.0), "everybody has had the pixels of 1"
    assert kept.reserve(5, b"5", 100, {"face"}, 1.0 + KEEP_SECONDS), "what nobody fetches makes room"
    assert not kept.reserve(6, b"6", 1, (), 0.0), "nobody wants it"
