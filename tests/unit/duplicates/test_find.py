"""Three kinds that are never mixed, each with a keeper and its reason, over a real index."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blake3 import blake3
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from bench.support.synthetic_images import reencode, rescale, scene_image
from indexd.duplicates import copy_groups, similar_images
from indexd.duplicates.duplicate_contact_sheet import write_duplicate_contact_sheet
from indexd.duplicates.duplicate_report import find_duplicates
from indexd.duplicates.similar_images import similar_image_groups
from indexd.errors import IndexdError, UsageError
from indexd.fs.file_stamp import FileStamp
from indexd.image_metadata.model import ImageFacts, ImageMetadata, MetadataLora
from indexd.images.copy_comparison import compare_copies
from indexd.images.perceptual_hash import compute_perceptual_hash
from indexd.store.protocols import IndexStore
from indexd.store.records import ScannedFile
from indexd.store.sqlite.store import SqliteStore
from indexd_schemas.api.library_reports import DuplicateGroup, DuplicatesReport, DuplicatesRequest


class Shelf:
    """Pictures on disk and in the index, with their hashes."""

    def __init__(self, store: IndexStore, root: Path) -> None:
        self.store = store
        self.root = root
        self.root_id = store.roots.ensure(os.fsencode(root), "images").id

    def put(self, name: str, picture: Image.Image, seed: int | None = None) -> int:
        path = self.root / name
        path.parent.mkdir(exist_ok=True)
        picture.save(path)
        return self.see(
            name, ImageMetadata(prompt="a scene", seed=str(seed), steps=20) if seed is not None else ImageMetadata()
        )

    def see(self, name: str, metadata: ImageMetadata) -> int:
        path = self.root / name
        content = path.read_bytes()
        with Image.open(path) as opened:
            picture, kind = opened.convert("RGB"), opened.format or ""
        facts = ImageFacts(blake3(content).digest(), len(content), kind, *picture.size, 1, metadata)
        sighting = ScannedFile(self.root_id, os.fsencode(name), FileStamp.from_stat(path.stat()), facts)
        image_id = self.store.images.ingest([sighting], 1.0)[0].image_id
        assert image_id is not None
        self.store.perceptual_hashes.put("thumbnail", {image_id: compute_perceptual_hash(picture)})
        return image_id

    def copy(self, name: str, to: str, mtime: int) -> None:
        shutil.copy(self.root / name, self.root / to)
        os.utime(self.root / to, (mtime, mtime))
        self.see(to, ImageMetadata())

    def ask(self, *kinds: str, **given: object) -> list[DuplicateGroup]:
        return self.report(*kinds, **given).groups

    def report(self, *kinds: str, **given: object) -> DuplicatesReport:
        request = DuplicatesRequest.model_validate(({"kinds": kinds} if kinds else {}) | given)
        return find_duplicates(self.store, request, compare_copies, str(self.root.parent / "thumbnails"))


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    root = tmp_path / "pictures"
    root.mkdir()
    with SqliteStore.open(tmp_path / "index.db") as store:
        yield Shelf(store, root)


def names(group: DuplicateGroup) -> list[str]:
    return [os.path.basename(member.path or "") for member in group.members]


def test_same_bytes_are_files_of_one_picture_and_the_older_one_is_kept(shelf: Shelf) -> None:
    shelf.put("a.png", scene_image(0, 0), seed=1)
    shelf.copy("a.png", "b.png", mtime=1_000_000)
    shelf.put("c.png", scene_image(1, 0), seed=2)
    (group,) = shelf.ask("same")
    assert (group.kind, names(group), group.reason) == ("same", ["b.png", "a.png"], "older")
    assert [member.keep for member in group.members] == [True, False]
    assert group.spare_bytes == (shelf.root / "a.png").stat().st_size
    assert shelf.ask("near") == []


def test_a_file_named_as_a_copy_is_not_kept(shelf: Shelf) -> None:
    shelf.put("a.png", scene_image(0, 0))
    shelf.copy("a.png", "a (1).png", mtime=1_000_000)
    (group,) = shelf.ask("same")
    assert (names(group)[0], group.reason) == ("a.png", "not named as a copy")


def test_a_copy_that_is_gone_is_no_copy(shelf: Shelf) -> None:
    shelf.put("a.png", scene_image(0, 0))
    shelf.copy("a.png", "b.png", mtime=5)
    shelf.store.files.mark_missing(shelf.root_id, [b"b.png"], 2.0)
    assert shelf.ask("same") == []


def test_the_same_picture_in_other_bytes(shelf: Shelf) -> None:
    original = scene_image(0, 0)
    shelf.put("original.png", original, seed=1)
    shelf.put("small.jpg", reencode(rescale(original, 0.5), "JPEG", 70))
    shelf.put("other-seed.png", scene_image(0, 1), seed=2)
    (group,) = shelf.ask("near")
    assert (group.kind, names(group), group.reason) == (
        "near",
        ["original.png", "small.jpg"],
        "has the original metadata",
    )
    assert 0.9 < group.members[1].similarity <= 1.0
    assert shelf.ask("same") == []


def test_a_rated_picture_is_kept_before_a_larger_one(shelf: Shelf) -> None:
    large = shelf.put("large.png", rescale(scene_image(0, 0), 2.0))
    small = shelf.put("small.png", scene_image(0, 0))
    assert shelf.ask("near")[0].reason == "larger (1024x1024)"
    shelf.store.annotations.rate([small], 4)
    (group,) = shelf.ask("near")
    assert (names(group)[0], group.reason) == ("small.png", "rated 4")
    shelf.store.annotations.rate([large], 5)
    assert shelf.ask("near")[0].reason == "rated 5"


def test_two_seeds_are_never_the_same_picture_however_alike(shelf: Shelf) -> None:
    shelf.put("a.png", scene_image(0, 0), seed=1)
    shelf.put("b.png", reencode(scene_image(0, 0), "JPEG", 95), seed=2)
    assert shelf.ask("near") == []


def test_images_of_two_recipes_are_variations_and_all_kept(shelf: Shelf) -> None:
    shelf.put("a.png", scene_image(0, 0), seed=1)
    shelf.put("b.png", reencode(scene_image(0, 0), "JPEG", 95), seed=2)
    found = shelf.report("near", "variations")
    (group,) = found.groups
    assert (group.kind, group.reason, group.spare_bytes) == ("variations", "other seed", 0)
    assert [member.keep for member in group.members] == [True, True]
    assert [(count.kind, count.groups) for count in found.found] == [("near", 0), ("variations", 1)]
    assert "1 groups of images look alike and are no copies" in shelf.report("near").notes[0]


@pytest.mark.parametrize(
    ("setting", "values"),
    [
        ("prompt", ("a red scene", "a blue scene")),
        ("negative_prompt", ("", "blurry")),
        ("steps", (20, 21)),
        ("cfg", (4.0, 4.5)),
        ("model_name", ("a.safetensors", "b.safetensors")),
        ("denoise", (None, 0.02)),
        ("loras", ((MetadataLora("x", 0.5),), (MetadataLora("x", 0.6),))),
    ],
)
def test_one_setting_makes_a_variation_though_the_pixels_are_equal(
    shelf: Shelf, setting: str, values: tuple[object, object]
) -> None:
    for name, value in zip(("a.png", "b.jpg"), values, strict=True):
        scene_image(0, 0).save(shelf.root / name)
        recipe: dict[str, Any] = {"prompt": "a scene", "seed": "1", "generator": "A1111"} | {setting: value}
        shelf.see(name, ImageMetadata(**recipe))
    assert shelf.ask("near") == []
    (group,) = shelf.ask("variations")
    assert group.reason == f"other {setting.replace('model_name', 'model').replace('_', ' ')}"


def test_names_of_models_and_samplers_of_two_programs_are_no_difference(shelf: Shelf) -> None:
    told = {
        "a.png": ImageMetadata(
            generator="ComfyUI", prompt="a  scene", seed="1", model_name="sdxl\\Toy.safetensors", sampler="dpmpp_2m"
        ),
        "b.jpg": ImageMetadata(generator="A1111", prompt="a scene", seed="1", model_name="toy", sampler="DPM++ 2M"),
    }
    for name, metadata in told.items():
        scene_image(0, 0).save(shelf.root / name)
        shelf.see(name, metadata)
    (group,) = shelf.ask("near")
    assert names(group) == ["a.png", "b.jpg"]


def test_each_copy_joins_the_variation_that_it_shows(shelf: Shelf) -> None:
    first, second = scene_image(0, 0), scene_image(0, 0)
    ImageDraw.Draw(second).ellipse((240, 240, 270, 270), fill=(250, 30, 40))
    for name, image in (("first", first), ("second", second)):
        shelf.put(f"{name}.png", image)
        shelf.put(f"{name}.jpg", image)
        shelf.put(f"{name}.webp", rescale(image, 0.5))
    found = shelf.report("near", "variations")
    copies = [set(names(group)) for group in found.groups if group.kind == "near"]
    assert copies == [{f"{name}.png", f"{name}.jpg", f"{name}.webp"} for name in ("first", "second")]
    (variations,) = [group for group in found.groups if group.kind == "variations"]
    assert (set(names(variations)), variations.reason) == ({"first.png", "second.png"}, "other pixels")


def test_images_that_nobody_can_open_are_told(shelf: Shelf) -> None:
    shelf.put("a.png", scene_image(0, 0))
    shelf.put("b.jpg", scene_image(0, 0))
    (shelf.root / "b.jpg").unlink()
    found = shelf.report("near", "variations")
    assert found.groups == []
    assert any("1 pairs that look alike were not compared" in note for note in found.notes)


def test_the_comparison_has_a_limit(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy_groups, "MAX_PAIRS", 1)
    for number in range(4):
        shelf.put(f"{number}.jpg", rescale(scene_image(0, 0), 1 + number / 8))
    found = shelf.report("near")
    assert [len(group.members) for group in found.groups] == [2]
    assert any("2 pairs that look alike were not compared" in note for note in found.notes)


def test_plain_pictures_form_no_group_and_are_told(shelf: Shelf) -> None:
    for level in range(4):
        shelf.put(f"{level}.png", Image.new("RGB", (64 + level, 64), (level * 60,) * 3))
    found = shelf.report()
    assert found.groups == []
    assert any("4 images of the library have too little detail" in note for note in found.notes)


def test_filters_say_among_which_pictures(shelf: Shelf) -> None:
    shelf.put("x/a.png", scene_image(0, 0))
    shelf.put("x/b.jpg", scene_image(0, 0))
    shelf.put("y/c.jpg", rescale(scene_image(0, 0), 0.5))
    assert [len(group.members) for group in shelf.ask("near", filters=("path:x/*",))] == [2]
    assert [len(group.members) for group in shelf.ask("near")] == [3]
    with pytest.raises(UsageError):
        shelf.ask("near", filters=("nokey:1",))


def test_the_limit_cuts_the_list_and_not_the_count(shelf: Shelf) -> None:
    for number in range(3):
        shelf.put(f"{number}.png", scene_image(number, 0))
        shelf.put(f"{number}.jpg", scene_image(number, 0))
    found = shelf.report("near", limit=2)
    assert (len(found.groups), found.found[0].groups, found.found[0].members) == (2, 3, 6)


def cone(count: int, dim: int = 96) -> NDArray[np.float32]:
    chance = np.random.default_rng(4)
    rows = chance.standard_normal(dim) + 0.8 * chance.standard_normal((count, dim))
    rows[1::4] = rows[0::4] + 0.1 * chance.standard_normal((len(rows[1::4]), dim))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


@pytest.mark.parametrize("exact", [20_000, 100], ids=["all pairs", "by cells"])
def test_similar_pictures_are_found_by_their_vectors(shelf: Shelf, exact: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similar_images, "MAX_EXACT_IMAGES", exact)
    rows = cone(400)
    ids = []
    for number in range(len(rows)):
        facts = ImageFacts(number.to_bytes(32, "big"), 1, "PNG", 1, 1, 1, ImageMetadata())
        ids.append(ScannedFile(shelf.root_id, b"%d.png" % number, FileStamp(1, 1, number + 1), facts))
    known = [recorded.image_id or 0 for recorded in shelf.store.images.ingest(ids, 1.0)]
    revision = shelf.store.vectors.activate("clip_h", "toy", rows.shape[1], "image")
    shelf.store.vectors.put("clip_h", revision, known, rows)
    left, right = np.triu_indices(len(rows), 1)
    near = (rows @ rows.T)[left, right] >= 0.97
    expected = {(known[a], known[b]) for a, b in zip(left[near], right[near], strict=True)}
    assert len(expected) == 100
    found = {(min(group), max(group)) for group in similar_image_groups(shelf.store, None, 0.97)}
    assert found == expected
    shelf.store.files.mark_missing(shelf.root_id, [b"0.png"], 2.0)
    assert len(similar_image_groups(shelf.store, None, 0.97)) == 99
    assert similar_image_groups(shelf.store, known[2:7], 0.97) == [[known[4], known[5]]]


def test_without_vectors_similar_says_so(shelf: Shelf) -> None:
    found = shelf.report("similar")
    assert found.groups == []
    assert "clip_h" in found.notes[0]


def test_the_sheet_has_a_row_a_group(shelf: Shelf, tmp_path: Path) -> None:
    for number in range(2):
        shelf.put(f"{number}.png", scene_image(number, 0))
        shelf.put(f"{number}.jpg", scene_image(number, 0))
    groups = shelf.ask("near")
    target = tmp_path / "sheet.png"
    assert write_duplicate_contact_sheet(groups, target, lambda _hash: tmp_path / "none") == 2
    with Image.open(target) as sheet:
        tall = sheet.height
    assert write_duplicate_contact_sheet(groups[:1], target, lambda _hash: tmp_path / "none") == 1
    with Image.open(target) as sheet:
        assert sheet.height < tall
    with pytest.raises(IndexdError, match="cannot write"):
        write_duplicate_contact_sheet(groups, tmp_path / "no" / "such.png", lambda _hash: tmp_path / "none")
