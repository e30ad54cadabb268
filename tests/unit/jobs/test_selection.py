"""Which pictures a job starts from: fixed at admission, counted, and refused with a sentence where there are none."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexd.errors import JobRefused
from indexd.fs.file_stamp import FileStamp
from indexd.images.image_reader import read_image
from indexd.jobs.admission.input_selection import InputSelector
from indexd.store.records import ScannedFile
from indexd.watch.watch_filter import IMAGE_SUFFIXES
from indexd.worker.calls import FoundRegion
from indexd_schemas.jobs.input_selection import InputSelection
from tests.unit.jobs.conftest import JobSetup

JOB = "kind: img2img\nprompt: a cat\nseed: 7\ndenoise: 0.5\n"


def paint(path: Path, colour: str, size: tuple[int, int] = (64, 64)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def record(setup: JobSetup, path: Path) -> int:
    """The picture in the index; its id."""
    root = setup.store.roots.ensure(os.fsencode(path.parent), "images")
    with path.open("rb") as file:
        facts = read_image(file, path.stat().st_size, path.name)
    stamp = FileStamp(path.stat().st_size, path.stat().st_mtime_ns, path.stat().st_ino)
    [recorded] = setup.store.images.ingest([ScannedFile(root.id, os.fsencode(path.name), stamp, facts)], 1.0)
    assert recorded.image_id is not None
    return recorded.image_id


def inputs(setup: JobSetup, job_id: int) -> list[str]:
    found = [(item.settings["images"], item.settings["recipe"]) for item in setup.store.jobs.items(job_id)]
    return [Path(images[recipe["input"]["hash"]]).name for images, recipe in found]


def test_every_input_gets_every_seed(setup: JobSetup, tmp_path: Path) -> None:
    paint(setup.inbox / "a.png", "red")
    other = paint(tmp_path / "b.png", "blue", (128, 64))
    job = setup.jobs.submit(f"{JOB}count: 2\ninput: [a.png, '{other}']".encode(), "x.yaml")
    items = setup.store.jobs.items(job.id)
    assert inputs(setup, job.id) == ["a.png", "a.png", "b.png", "b.png"]
    assert [item.seed for item in items] == [7, 8, 7, 8]
    assert [item.settings["recipe"]["width"] for item in items] == [64, 64, 128, 128]
    hashes = {item.settings["recipe"]["input"]["hash"] for item in items}
    assert len(hashes) == 2


def test_a_folder_selects_every_suffix_that_the_watcher_indexes(setup: JobSetup, tmp_path: Path) -> None:
    folder = tmp_path / "every-suffix"
    source = paint(tmp_path / "source.png", "red")
    names = sorted(f"a{os.fsdecode(suffix)}" for suffix in IMAGE_SUFFIXES)
    folder.mkdir()
    for name in (*names, "a.txt", "a.heic"):
        (folder / name).write_bytes(source.read_bytes())
    images = InputSelector(setup.store, setup.inbox, limit=100).select(InputSelection(folder=str(folder)))
    assert [Path(image.path).name for image in images] == names


def test_a_folder_is_taken_by_name_and_below_only_when_asked(setup: JobSetup, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    for name in ("b.png", "a.png", "below/c.png", ".hidden/d.png", ".e.png"):
        paint(folder / name, "red")
    (folder / "notes.txt").write_text("x")
    flat = setup.jobs.submit(f"{JOB}input: {{folder: '{folder}'}}".encode(), "x.yaml")
    deep = setup.jobs.submit(f"{JOB}input: {{folder: '{folder}', recursive: true}}".encode(), "y.yaml")
    assert inputs(setup, flat.id) == ["a.png", "b.png"]
    assert inputs(setup, deep.id) == ["a.png", "b.png", "c.png"]


def test_a_query_is_answered_once_and_for_all(setup: JobSetup, tmp_path: Path) -> None:
    ids = [record(setup, paint(tmp_path / f"{name}.png", colour)) for name, colour in (("a", "red"), ("b", "blue"))]
    setup.store.annotations.rate([ids[1]], 5)
    job = setup.jobs.submit(f"{JOB}input: {{query: 'rating:5'}}".encode(), "x.yaml")
    setup.store.annotations.rate([ids[0]], 5)
    assert inputs(setup, job.id) == ["b.png"]
    both = setup.jobs.submit(f"{JOB}input: {{query: 'rating:5', sort: rating, count: 1}}".encode(), "y.yaml")
    assert len(inputs(setup, both.id)) == 1
    named = setup.jobs.submit(f"{JOB}input: '#{ids[0]}'".encode(), "z.yaml")
    assert inputs(setup, named.id) == ["a.png"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{query: 'rating:5'}", "line 5, column 8: input: the query 'rating:5' finds no image"),
        ("{query: 'stars:5'}", "there is no key 'stars'"),
        ("{folder: nowhere}", "there is no folder"),
        ("{folder: a, query: b}", "`folder` and `query` cannot be combined"),
        ("{}", "must name a method"),
        ("{files: []}", "input.files"),
        ("[]", "must be a list of at least one path"),
        ("{query: a, sort: clip}", "input.sort: must be 'score', 'newest'"),
        ("{queri: a}", "did you mean `query`"),
        ("{character: Nobody}", "input: there is no character 'Nobody'"),
        ("{query: 'rating:5', sample: best}", "`sample` needs `character`"),
        ("{character: Luna, similar: '#1'}", "`similar` and `character` cannot be combined"),
        ("'#99'", "'#99' is not in the index"),
        ("{similar: '#99'}", "input: "),
        ("5", "must be a path, a list of paths"),
        ("../a.png", "is no path that can be used"),
    ],
)
def test_what_cannot_be_chosen_is_refused_with_a_sentence(setup: JobSetup, text: str, sentence: str) -> None:
    with pytest.raises(JobRefused) as refused:
        setup.jobs.submit(f"{JOB}input: {text}".encode(), "x.yaml")
    assert sentence in str(refused.value)


def test_limits_count_inputs_times_seeds(setup: JobSetup, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    for number in range(26):
        paint(folder / f"{number:02}.png", "red", (64, 64 + 8 * number))
    with pytest.raises(JobRefused, match="input: 52 images, one for each input and seed; a job makes at most 50"):
        setup.jobs.submit(f"{JOB}count: 2\ninput: {{folder: '{folder}'}}".encode(), "x.yaml")
    assert len(inputs(setup, setup.jobs.submit(f"{JOB}input: {{folder: '{folder}'}}".encode(), "y.yaml").id)) == 26


def test_a_mask_must_be_of_the_shape_of_its_picture(setup: JobSetup) -> None:
    paint(setup.inbox / "a.png", "red", (64, 96))
    paint(setup.inbox / "wide.png", "white", (96, 64))
    paint(setup.inbox / "half.png", "white", (32, 48))
    job = "kind: inpaint\nprompt: a\ninput: a.png\nmask: "
    with pytest.raises(JobRefused, match=r"mask: wide.png is 96x64 and a.png is 64x96; a mask needs the aspect ratio"):
        setup.jobs.submit(f"{job}wide.png".encode(), "x.yaml")
    with pytest.raises(JobRefused, match=r"mask.region: no 'face' is known of a.png, and there are no detectors"):
        setup.jobs.submit(f"{job}{{region: face}}".encode(), "x.yaml")
    with pytest.raises(JobRefused, match="mask: must be one of `file`, `region` and `box`"):
        setup.jobs.submit(f"{job}{{region: face, file: half.png}}".encode(), "x.yaml")
    [item] = setup.store.jobs.items(setup.jobs.submit(f"{job}half.png".encode(), "x.yaml").id)
    assert item.settings["images"][item.settings["recipe"]["mask"]["hash"]] == str(setup.inbox / "half.png")
    assert item.settings["recipe"]["mask"]["name"] == "half.png"


def test_a_mask_that_was_changed_since_is_not_used(setup: JobSetup) -> None:
    paint(setup.inbox / "a.png", "red")
    mask = paint(setup.inbox / "m.png", "white")
    job = setup.jobs.submit(b"kind: inpaint\nprompt: a\ninput: a.png\nmask: m.png", "x.yaml")
    paint(mask, "black")
    setup.work()
    [item] = setup.store.jobs.items(job.id)
    assert item.state == "failed"
    assert item.error is not None
    assert "the mask" in item.error
    assert "is not the one that the job was admitted with" in item.error


def test_a_region_of_the_index_is_a_box_in_the_recipe(setup: JobSetup) -> None:
    picture = record(setup, paint(setup.inbox / "a.png", "red"))
    revision = setup.store.faces.activate("fake/1", 4, "eyes")
    small, large = (
        FoundRegion("face", "d", left, 0.25, side, side, 0.9, 32, 9.0, 0.5, row)
        for row, (left, side) in enumerate(((0.125, 0.125), (0.5, 0.25)))
    )
    setup.store.faces.put(revision, {picture: [small, large]}, np.eye(2, 4, dtype=np.float32))
    job = "kind: inpaint\nprompt: a\ninput: a.png\nmask: {region: Face, padding: 0.5, "
    boxes = []
    for number in (1, 2):
        [item] = setup.store.jobs.items(setup.jobs.submit(f"{job}index: {number}}}".encode(), "x.yaml").id)
        boxes.append(item.settings["recipe"]["mask"]["box"])
    assert boxes == [[0.5, 0.25, 0.25, 0.25], [0.125, 0.25, 0.125, 0.125]]
    with pytest.raises(JobRefused, match=r"mask.index: 3, but a.png has only 2 Face"):
        setup.jobs.submit(f"{job}index: 3}}".encode(), "x.yaml")


def test_a_character_is_shown_by_a_sample_of_its_pictures(setup: JobSetup, tmp_path: Path) -> None:
    colours = ("red", "lime", "blue", "gold", "navy", "pink")
    ids = [record(setup, paint(tmp_path / f"{colour}.png", colour)) for colour in colours]
    revision = setup.store.faces.activate("fake/1", 4, "eyes")
    rows = np.array(
        [[1, 0, 0, 0], [1, 0.1, 0, 0], [1, 0, 0.1, 0], [0, 1, 0, 0], [0, 1, 0.1, 0], [0, 1, 0, 0.1]], np.float32
    )
    found = {
        image: [FoundRegion("face", "d", 0.25, 0.25, 0.5, 0.5, 0.9, 32, 9.0, 0.3 + 0.1 * row, row)]
        for row, image in enumerate(ids)
    }
    setup.store.faces.put(revision, found, rows / np.linalg.norm(rows, axis=1, keepdims=True))
    regions = np.array([setup.store.faces.of_image(image)[0].id for image in ids])
    luna, _ = setup.store.characters.apply_clustering(regions, lambda known: np.array([-1, -1, -1, -2, -2, -2])).created
    setup.store.corrections.set_name(luna, "Luna")

    def chosen(more: str) -> list[str]:
        job = setup.jobs.submit(f"{JOB}input: {{character: luna{more}}}".encode(), "x.yaml")
        return inputs(setup, job.id)

    assert sorted(chosen("")) == ["blue.png", "lime.png", "red.png"]
    assert chosen(", sample: best, count: 2") == ["blue.png", "lime.png"]
    setup.store.annotations.rate([ids[1]], 5)
    assert chosen(", query: 'rating:5'") == ["lime.png"]


@pytest.mark.parametrize(("stored", "asked"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_an_input_is_found_in_the_other_unicode_form(setup: JobSetup, stored: str, asked: str) -> None:
    name = unicodedata.normalize(stored, "quelle é.png")  # type: ignore[arg-type]
    paint(setup.inbox / name, "red")
    text = unicodedata.normalize(asked, f"{JOB}input: 'quelle é.png'\n")  # type: ignore[arg-type]
    job = setup.jobs.submit(text.encode(), "x.yaml")
    assert [os.fsencode(path) for path in inputs(setup, job.id)] == [os.fsencode(name)]
