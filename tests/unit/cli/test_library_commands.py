"""`duplicates` and `stats` from the command line: what they print, what they refuse, and their exit codes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from indexd import errors
from indexd.config import read_config
from indexd.fs.file_stamp import FileStamp
from indexd.images.perceptual_hash import compute_perceptual_hash
from indexd.store.records import ScannedFile
from indexd.store.sqlite.store import SqliteStore
from tests.support.sample_library import SampleLibrary
from tests.unit.cli.conftest import Indexd


@pytest.fixture
def copied(home: Path, library: SampleLibrary) -> SampleLibrary:
    """The library with one picture copied, and two pictures that look the same."""
    with SqliteStore.open(read_config(home).paths.index) as store:
        source, target = library.root / "cats/cat-0.png", library.root / "copy.png"
        shutil.copy(source, target)
        row = store.images.get(library.ids["cats/cat-0.png"])
        assert row is not None
        from indexd.images.image_reader import read_image

        with target.open("rb") as file:
            facts = read_image(file, target.stat().st_size, "copy.png")
        store.images.ingest([ScannedFile(library.root_id, b"copy.png", FileStamp.from_stat(target.stat()), facts)], 5.0)
        looks = compute_perceptual_hash(Image.effect_mandelbrot((128, 128), (-2, -1, 1, 1), 50).convert("RGB"))
        alike = [library.ids["dogs/dog-0.png"], library.ids["dogs/dog-1.png"]]
        store.perceptual_hashes.put("thumbnail", {alike[0]: looks})
        store.perceptual_hashes.put("thumbnail", {library.ids["seas/sea-0.png"]: looks})
        store.annotations.rate([library.ids["cats/cat-0.png"], library.ids["cats/cat-1.png"]], 5)
        store.annotations.rate(alike, 2)
    return library


def test_duplicates_are_listed_by_kind_with_the_one_to_keep(indexd: Indexd, copied: SampleLibrary) -> None:
    ran = indexd("duplicates")
    assert ran.code == 0
    same, _, near = ran.out.partition("the same image in other bytes: 0 groups")
    assert "same bytes in several files: 1 groups, 2 files" in same
    assert "keep the first: " in same
    assert "copy.png" in same
    # The recipes of the two that look the same contradict each other.
    assert near.strip() == ", 0 images"
    assert indexd("duplicates", "--near").code == errors.EXIT_NOTHING_FOUND


def test_duplicates_as_json_and_as_a_sheet(indexd: Indexd, copied: SampleLibrary, tmp_path: Path) -> None:
    ran = indexd("duplicates", "--same", "--json", "--sheet", str(tmp_path / "sheet.png"))
    document = ran.json
    assert [group["kind"] for group in document["groups"]] == ["same"]
    assert sum(member["keep"] for member in document["groups"][0]["members"]) == 1
    with Image.open(tmp_path / "sheet.png") as sheet:
        sheet.verify()


def test_asking_for_duplicates_changes_nothing(indexd: Indexd, copied: SampleLibrary, home: Path) -> None:
    def everything() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in sorted(copied.root.rglob("*")) if path.is_file()}

    before = everything()
    with SqliteStore.open(read_config(home).paths.index, read_only=True) as store:
        rows = store.images.rows(copied.ids.values())
    indexd("duplicates", "--same", "--near", "--similar")
    assert everything() == before
    with SqliteStore.open(read_config(home).paths.index, read_only=True) as store:
        assert store.images.rows(copied.ids.values()) == rows


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("duplicates", "--threshold", "0.9"), "belongs to --similar"),
        (("duplicates", "--similar", "--threshold", "2"), "write a number from 0.5 to 1.0 (got 2)"),
        (("duplicates", "colour:red"), "there is no key 'colour'"),
        (("stats", "--by", "colour"), "is not one of"),
        (("stats", "steps:40..20"), "is reversed"),
        (("stats", "-n", "0"), "write a whole number from 1 to 10000 (got 0)"),
    ],
)
def test_wrong_words_are_refused_with_a_sentence(
    indexd: Indexd, library: SampleLibrary, words: tuple[str, ...], said: str
) -> None:
    ran = indexd(*words)
    assert ran.code == errors.EXIT_USAGE
    assert said in ran.err
    assert "Traceback" not in ran.err


def test_stats_are_printed_and_drawn(indexd: Indexd, copied: SampleLibrary, tmp_path: Path) -> None:
    ran = indexd("stats", "--plot", str(tmp_path / "plot.png"))
    assert ran.code == 0
    assert "8 images, 4 rated, 3.50 on average" in ran.out
    assert "by model: 2 different on 8 of 8 images" in ran.out
    assert "only 2 images are rated below five stars; --against all" in ran.err
    with Image.open(tmp_path / "plot.png") as plot:
        plot.verify()


def test_stats_as_json_with_a_filter(indexd: Indexd, copied: SampleLibrary) -> None:
    document = indexd("stats", "--by", "model", "--json", "model:pony*", "-has:rating").json
    assert document["images"] == 0
    document = indexd("stats", "--by", "model", "--json", "model:pony*").json
    assert [row["value"] for row in document["tables"][0]["rows"]] == ["ponyXL"]
    assert (document["images"], document["rated"]) == (4, 4)


def test_no_pictures_is_nothing_found(indexd: Indexd, library: SampleLibrary) -> None:
    ran = indexd("stats", "model:none")
    assert (ran.code, ran.out) == (errors.EXIT_NOTHING_FOUND, "")
