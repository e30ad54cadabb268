"""Three kinds that are never mixed, each with a keeper and its reason, over a real index."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3
from numpy.typing import NDArray
from PIL import Image

from bench.support.synthetic_images import reencode, rescale, scene_image
from indexd.duplicates import similar_images
from indexd.duplicates.duplicate_contact_sheet import write_duplicate_contact_sheet
from indexd.duplicates.duplicate_report import find_duplicates
from indexd.duplicates.similar_images import similar_image_groups
from indexd.errors import IndexdError, UsageError
from indexd.fs.file_stamp import FileStamp
from indexd.image_metadata.model import ImageFacts, ImageMetadata
from indexd.images.perceptual_hash import compute_perceptual_hash
from indexd.store.protocols import IndexStore
from indexd.store.records import ScannedFile
from indexd.store.sqlite.store import SqliteStore
from indexd_schemas.api.library_reports import DuplicateGroup, DuplicatesRequest


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
        return find_duplicates(self.store, DuplicatesRequest.model_validate({"kinds": kinds, **given})).groups


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


def test_plain_pictures_form_no_group_and_are_told(shelf: Shelf) -> None:
    for level in range(4):
        shelf.put(f"{level}.png", Image.new("RGB", (64 + level, 64), (level * 60,) * 3))
    found = find_duplicates(shelf.store, DuplicatesRequest())
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
    found = find_duplicates(shelf.store, DuplicatesRequest(kinds=("near",), limit=2))
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
    found = find_duplicates(shelf.store, DuplicatesRequest(kinds=("similar",)))
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
