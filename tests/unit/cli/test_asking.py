"""`query`, `show`, `explain`, `status`, `rate`, `tag` without a daemon: the index is opened by the command itself."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from PIL import Image

from indexd.cli.app import run
from indexd.cli.commands.show import _generator_text
from indexd.config import read_config
from indexd.image_metadata.model import ImageMetadata
from indexd.store.sqlite.store import SqliteStore
from tests.support.sample_library import SampleLibrary
from tests.unit.cli.conftest import Indexd


def test_query_for_people(indexd: Indexd, library: SampleLibrary) -> None:
    shown = indexd("query", "model:pony*", "steps:30", "-tag:bad")
    assert shown.code == 0
    assert library.path("cats/cat-1.png") in shown.out
    assert "a dog number 1, oil painting" in shown.out
    assert "house" not in shown.out
    assert shown.err == ""


def test_query_by_a_picture_of_the_library_needs_no_model(indexd: Indexd, library: SampleLibrary) -> None:
    path = library.path("cats/cat-1.png")
    answer = indexd("query", "--similar", path, "-n", "2", "--json").json
    assert answer["schema_version"] == 1
    assert [Path(hit["image"]["path"]).name for hit in answer["hits"]] == ["cat-1.png", "cat-0.png"]
    assert answer["hits"][0]["scores"]["clip_h"] == pytest.approx(1, abs=1e-3)


def test_query_prompt_without_a_model_answers_from_the_full_text_and_says_so(
    indexd: Indexd, library: SampleLibrary
) -> None:
    found = indexd("query", "--prompt", "house number 1", "--paths")
    assert found.code == 0
    assert found.out == library.path("houses/house-1.png") + "\n"
    assert "bge is off, because no model is set" in found.err


def test_query_text_without_a_model_is_an_error(indexd: Indexd, library: SampleLibrary) -> None:
    failed = indexd("query", "--text", "a cat")
    assert failed.code == 1
    assert "clip_h is off" in failed.err
    assert failed.out == ""


def test_query_forms_of_output(indexd: Indexd, library: SampleLibrary) -> None:
    lines = indexd("query", "seed:100", "--jsonl").out.splitlines()
    assert [json.loads(line)["rank"] for line in lines] == [1, 2, 3]
    paths = indexd("query", "seed:100", "--sort", "oldest", "-0").out
    assert paths.count("\0") == 3
    assert paths.endswith("\0")
    assert "\n" not in paths
    assert indexd("query", "--json", "--paths").code == 2


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_name_that_is_not_utf8_is_printed_byte_for_byte(
    home: Path, library: SampleLibrary, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    with SqliteStore.open(read_config(home).paths.index) as store:
        SampleLibrary(store, library.root, library.root_id).add(name, ImageMetadata(seed="77"))
    assert run(["--home", str(home), "query", "seed:77", "-0"]) == 0
    assert capfdbinary.readouterr().out == os.fsencode(library.root / name) + b"\0"
    assert run(["--home", str(home), "query", "seed:77", "--json"]) == 0
    (hit,) = json.loads(capfdbinary.readouterr().out)["hits"]
    assert unquote_to_bytes(hit["image"]["path_quoted"]) == os.fsencode(library.root / name)


def test_query_that_finds_nothing(indexd: Indexd, library: SampleLibrary) -> None:
    empty = indexd("query", "model:nobody")
    assert (empty.code, empty.out) == (3, "")
    assert "nothing found" in empty.err
    document = indexd("query", "model:nobody", "--json")
    assert document.code == 3
    assert document.json["hits"] == []


def test_filters_that_begin_with_the_letters_of_options(indexd: Indexd, library: SampleLibrary) -> None:
    assert len(indexd("query", "-has:rating", "-paths:x", "--paths").out.splitlines()) == 0
    assert len(indexd("query", "-has:rating", "-generator:nobody", "--paths").out.splitlines()) == 8
    assert len(indexd("query", "-n", "1", "-has:lora", "--paths", "-lora:x").out.splitlines()) == 1
    found = indexd("query", "--prompt", "-has:lora", "--paths")
    assert (found.code, "nothing found" in found.err) == (3, True)
    cat = library.path("cats/cat-0.png")
    assert indexd("tag", cat, "-happy", "-json", "+new").code == 0
    assert indexd("tag", "-h").out.startswith("Usage")


@pytest.mark.parametrize("word", ["stepz:3", "pony", "--similair", "-x"])
def test_query_put_wrongly(indexd: Indexd, word: str) -> None:
    wrong = indexd("query", word)
    assert wrong.code == 2
    assert word in wrong.err
    assert wrong.out == ""


def test_explain_marks_the_words_that_match(indexd: Indexd, library: SampleLibrary) -> None:
    explained = indexd("query", "prompt:oil*", "-n", "1", "--explain").out
    assert "«oil» painting  prompt:oil*" in explained
    assert "«" not in indexd("query", "prompt:oil*", "-n", "1").out


def test_a_missing_image_is_shown_where_its_file_lay(indexd: Indexd, home: Path, library: SampleLibrary) -> None:
    with SqliteStore.open(read_config(home).paths.index) as store:
        store.files.mark_missing(library.root_id, [b"cats/cat-0.png"], 1_770_000_000.0)
    shown = indexd("query", "missing:yes")
    assert f"{library.path('cats/cat-0.png')} (missing since 2026-02-0" in shown.out
    assert indexd("query", "missing:yes", "--paths").out == ""


def test_a_job_of_a_missing_image_has_what_the_index_keeps_of_it(
    indexd: Indexd, home: Path, library: SampleLibrary
) -> None:
    from indexd.image_metadata.model import RawChunk
    from indexd.jobs.parsing.yaml_guard import parse_yaml
    from indexd.store.records import RootRow
    from tests.unit.store.sample_rows import Library

    text = "a heron\nSteps: 20, Sampler: Heun, CFG scale: 5, Seed: 7, Size: 512x512, Clip skip: 3, Version: f2.0.1v1.10.1, Eta: 0.4"
    with SqliteStore.open(read_config(home).paths.index) as store:
        lost = Library(store, RootRow(library.root_id, b"", "images"))
        lost.add("heron.png", prompt="a heron", generator="forge", raw=(RawChunk("png:parameters", "utf-8", text),))
        store.files.mark_missing(lost.root.id, [b"heron.png"], 1.0)
    written = indexd("query", "missing:yes", "--emit-job", str(home / "heron.yaml"))
    assert written.code == 0, written.err
    data = parse_yaml((home / "heron.yaml").read_bytes()).data
    assert (data["sampler"], data["clip_skip"], data["steps"]) == ("heun", 3, 20)
    assert "not taken over as it was: Eta: 0.4" in written.err


def test_query_writes_a_sheet(indexd: Indexd, library: SampleLibrary, home: Path) -> None:
    sheet = home / "sheet.png"
    shown = indexd("query", "model:pony*", "--sheet", str(sheet), "--paths")
    assert shown.code == 0
    assert len(shown.out.splitlines()) == 4
    assert str(sheet) in shown.err
    with Image.open(sheet) as picture:
        assert picture.width > 500


def test_without_an_index(indexd: Indexd) -> None:
    for command in (
        ["query"],
        ["status"],
        ["show", "1"],
        ["explain", "x.png"],
        ["jobs", "list"],
        ["rate", "1", "5"],
        ["tag", "1", "+a"],
    ):
        empty = indexd(*command)
        assert empty.code == 3
        assert "no index yet" in empty.err


def test_show(indexd: Indexd, library: SampleLibrary) -> None:
    path = library.path("cats/cat-0.png")
    shown = indexd("show", path)
    assert shown.code == 0
    for part in ("ponyXL", "my lora 0.8", "a cat number 0", "100", "Clip skip"):
        assert part in shown.out
    assert "png:parameters" not in shown.out
    assert "(stated in the file: exif:DateTimeOriginal)" in shown.out
    assert "[png:parameters]" in indexd("show", path, "--raw").out
    document = indexd("show", str(library.ids["cats/cat-0.png"]), "--json").json
    assert document["schema_version"] == 1
    assert document["image"]["path"] == path
    assert document["image"]["created_from"] == "exif:DateTimeOriginal"
    assert indexd("show", "999").code == 3


@pytest.mark.parametrize(
    ("generator", "version", "text"),
    [("indexd", "indexd 0.1.0", "indexd 0.1.0"), ("a1111", "v1.10.1", "a1111 v1.10.1"), ("comfyui", None, "comfyui")],
)
def test_show_names_the_generator_once(generator: str, version: str | None, text: str) -> None:
    assert _generator_text(generator, version) == text


def test_explain(indexd: Indexd, library: SampleLibrary, tmp_path: Path) -> None:
    known = indexd("explain", library.path("cats/cat-0.png"))
    assert (known.code, known.out.splitlines()[0]) == (0, f"{library.path('cats/cat-0.png')}: indexed")
    unknown = indexd("explain", str(tmp_path / "x.png"), "--json")
    assert unknown.code == 3
    assert unknown.json["state"] == "unknown"


def test_status(indexd: Indexd, library: SampleLibrary) -> None:
    screen = indexd("status")
    assert screen.code == 0
    assert "no daemon is running" in screen.out
    assert "8 images in 8 files" in screen.out
    assert "off, because no model is set" in screen.out.replace("\n", " ")
    document = indexd("status", "--json").json
    assert (document["schema_version"], document["running"], document["images"]) == (1, False, 8)
    assert document["unread_job_files"] == []


def test_status_names_job_files_that_are_not_read_with_the_cure(
    indexd: Indexd, library: SampleLibrary, home: Path
) -> None:
    lost = home / "inbox" / "june" / "job.yaml"
    lost.parent.mkdir(parents=True)
    lost.write_text("kind: txt2img\n", "utf-8")
    [text] = indexd("status", "--json").json["unread_job_files"]
    assert text.startswith(f"{lost}: job files in folders below the inbox are not read; move them into")
    assert "not read" in indexd("status").out


def test_rate_and_tag(indexd: Indexd, library: SampleLibrary) -> None:
    cat, dog = library.path("cats/cat-0.png"), library.path("dogs/dog-0.png")
    assert indexd("rate", cat, dog, "4").out == "2 changed\n"
    assert indexd("query", "rating:4..", "--paths").out.splitlines() != []
    partly = indexd("rate", cat, "gone.png", "5", "--json")
    assert partly.code == 5
    assert partly.json["changed"] == 1
    assert indexd("rate", "gone.png", "5").code == 3
    assert indexd("tag", cat, dog, "+keep", "+two words", "-draft").code == 0
    assert sorted(indexd("query", "tag:two words", "--paths").out.splitlines()) == sorted([cat, dog])
    assert indexd("tag", cat, "-keep").code == 0
    assert indexd("query", "tag:keep", "--paths").out == dog + "\n"
    assert indexd("rate", cat, "0").code == 0
    assert indexd("query", "rating:5", "--paths").code == 3


@pytest.mark.parametrize("words", [["1"], ["+a"], ["1", "+"], ["1", "--wrong"], []])
def test_tag_put_wrongly(indexd: Indexd, library: SampleLibrary, words: list[str]) -> None:
    assert indexd("tag", *words).code == 2


@pytest.mark.skipif(os.name != "posix", reason="names of any bytes")
def test_names_that_are_no_unicode(indexd: Indexd, library: SampleLibrary, home: Path) -> None:
    odd = os.path.join(os.fsencode(library.root), b"odd \xff.png")
    (library.root / "cats/cat-0.png").rename(os.fsdecode(odd))
    with SqliteStore.open(read_config(home).paths.index) as store:
        from indexd.fs.file_stamp import FileStamp

        store.files.record_move(library.root_id, b"cats/cat-0.png", b"odd \xff.png", FileStamp.from_stat(os.stat(odd)))
    assert indexd("rate", os.fsdecode(odd), "3").code == 0
    shown = indexd("query", "rating:3", "--json")
    assert shown.json["hits"][0]["image"]["path"].endswith("odd ?.png")
    assert indexd("explain", os.fsdecode(odd)).code == 0


@pytest.mark.skipif(sys.platform == "win32", reason="the expected text has paths of POSIX")
def test_weights_and_signs_on_the_command_line(indexd: Indexd, library: SampleLibrary) -> None:
    cat, dog = library.path("cats/cat-1.png"), library.path("dogs/dog-1.png")
    for words, first in (
        (("--similar", f"2:{cat}", "--similar", dog), cat),
        (("--similar", cat, "--similar", f"2:{dog}"), dog),
        (("--similar", cat, "--not-similar", f"0.5:{dog}"), cat),
    ):
        found = indexd("query", *words, "-n", "1", "--paths").out
        assert Path(found).parent == Path(first).parent
    explained = indexd("query", "--similar", f"2:{cat}", "--not-similar", f"0.5:{dog}", "-n", "1", "--explain")
    assert "x 2  clip_h (cosine 1.000)  --similar /" in explained.out
    assert "x -0.5  clip_h#2 (cosine " in explained.out
    document = indexd("query", "--similar", cat, "--explain", "--json").json
    assert document["hits"][0]["parts"][0]["layer"] == "clip_h"
    assert indexd("query", "--similar", cat, "--json").json["hits"][0]["parts"] is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--text", "0:cat"), "a weight must be above 0"),
        (("--not-similar", "-2:a.png"), "--not-similar '-2:a.png': a weight must be above 0"),
        (("--min-score", "3"), "--min-score needs something to score by"),
        (("--text", "cat", "--min-score", "nan"), "--min-score must be finite"),
        (("--text", "cat", "--min-score", "3", "--all"), "exclude each other"),
        (("--text", ""), "terms.0.value"),
        (("--emit-job", "job.txt"), "a job file ends in .yaml"),
        (("--sort", "size"), "--sort"),
        (("--mood", "a.png"), "--mood"),
    ],
)
def test_a_question_put_wrongly_costs_nothing(
    indexd: Indexd, library: SampleLibrary, words: tuple[str, ...], message: str
) -> None:
    wrong = indexd("query", *words)
    assert wrong.code == 2
    assert message in wrong.err
    assert wrong.out == ""


def test_min_score(indexd: Indexd, library: SampleLibrary) -> None:
    cat = library.path("cats/cat-1.png")
    assert len(indexd("query", "--similar", cat, "--paths").out.splitlines()) == 8
    bar = indexd("query", "--similar", cat, "--min-score", "1", "--json").json
    assert 0 < len(bar["hits"]) < 8
    assert (bar["cutoff"], bar["cut_off_count"]) == (1.0, 8 - len(bar["hits"]))
    none = indexd("query", "--similar", cat, "--min-score", "99")
    assert (none.code, none.out) == (3, "")
    assert none.err.startswith("note: nothing matches: the best score is ")
    assert len(indexd("query", "--similar", cat, "--min-score=-inf", "--paths").out.splitlines()) == 8


@pytest.mark.skipif(os.name != "posix" or sys.platform == "darwin", reason="the viewer is named by xdg-open")
def test_open(indexd: Indexd, library: SampleLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    viewer, opened = tmp_path / "xdg-open", tmp_path / "opened"
    viewer.write_text(f'#!/bin/sh\necho "$1" >> {opened}\n', "utf-8")
    viewer.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    shown = indexd("query", "model:pony*", "--sort", "oldest", "-n", "2", "--open", "--paths")
    assert shown.code == 0
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and (not opened.exists() or opened.read_text("utf-8").count("\n") < 2):
        time.sleep(0.02)
    assert sorted(opened.read_text("utf-8").splitlines()) == sorted(shown.out.splitlines())
    monkeypatch.setenv("PATH", "")
    without = indexd("query", "model:pony*", "-n", "1", "--open")
    assert without.code == 1
    assert "no image viewer could be started" in without.err


def test_emit_job(indexd: Indexd, library: SampleLibrary, home: Path) -> None:
    from indexd.jobs.parsing.yaml_guard import parse_yaml

    job, cat = home / "job.yaml", library.path("cats/cat-0.png")
    written = indexd("query", "--similar", cat, "-n", "1", "--emit-job", str(job), "--paths")
    assert (written.code, written.out) == (0, cat + "\n")
    assert "there is no checkpoint 'ponyXL'" in written.err
    data = parse_yaml(job.read_bytes()).data
    assert (data["prompt"], data["seed"], data["model"]) == ("a cat number 0, oil painting", 100, "ponyXL")
    assert data["loras"] == [{"name": "my lora", "weight": 0.8}]
    before = job.read_bytes()
    again = indexd("query", "--emit-job", str(job))
    assert (again.code, again.out) == (1, "")
    assert "is there already" in again.err
    assert job.read_bytes() == before
    nowhere = home / "none.yaml"
    assert indexd("query", "model:nobody", "--emit-job", str(nowhere)).code == 3
    assert not nowhere.exists()
    assert indexd("query", "--emit-job", str(home / "no folder" / "x.yaml")).code == 1


def made_here(library: SampleLibrary, home: Path, name: str, **recipe: Any) -> None:
    """A picture with a recipe of ours, in the index."""
    from PIL.PngImagePlugin import PngInfo

    from indexd.fs.file_stamp import FileStamp
    from indexd.images.image_reader import read_image as read_picture
    from indexd.store.records import ScannedFile
    from indexd_schemas.recipe import Recipe

    texts = PngInfo()
    texts.add_itxt("indexd", Recipe(prompt="ours", width=64, height=64, steps=4, cfg=5.0, **recipe).model_dump_json())
    ours = library.root / name
    Image.new("RGB", (64, 64), "blue").save(ours, pnginfo=texts)
    with ours.open("rb") as file:
        facts = read_picture(file, ours.stat().st_size, name)
    with SqliteStore.open(read_config(home).paths.index) as store:
        sighting = ScannedFile(library.root_id, name.encode(), FileStamp.from_stat(ours.stat()), facts)
        store.images.ingest([sighting], 1_770_000_000.0)


def content_of(library: SampleLibrary, home: Path, name: str) -> str:
    with SqliteStore.open(read_config(home).paths.index) as store:
        row = store.images.get(library.ids[name])
    assert row is not None
    return row.content_hash.hex()


def test_emit_job_of_our_own_picture_takes_the_recipe_from_the_picture(
    indexd: Indexd, home: Path, library: SampleLibrary
) -> None:
    from indexd.jobs.parsing.yaml_guard import parse_yaml
    from indexd_schemas.recipe import InputRef, LoraRef, RecipeVariation
    from indexd_schemas.recipe_part import ModelRef

    made_here(
        library,
        home,
        "ours.png",
        kind="img2img",
        seed=2**64 - 1,
        sampler="dpmpp_2m",
        schedule="karras",
        clip_skip=2,
        variation=RecipeVariation(seed=9, strength=0.25),
        model=ModelRef(name="tiny"),
        loras=(LoraRef(name="film", weight=0.5, text_weight=0.25, blocks={"in": 0.5}),),
        prompt_syntax="a1111",
        input=InputRef(hash=content_of(library, home, "cats/cat-0.png"), name="cat-0.png", denoise=0.3),
        dtype="fp8",
    )
    job = home / "ours.yaml"
    written = indexd("query", "generator:indexd", "--emit-job", str(job))
    assert written.code == 0
    assert "loras: film: there is no LoRA 'film'" in written.err
    assert "dtype: made in fp8; [models.generator] dtype is auto here" in written.err
    assert parse_yaml(job.read_bytes()).data == {
        "kind": "img2img",
        "input": library.path("cats/cat-0.png"),
        "denoise": 0.3,
        "prompt": "ours",
        "negative_prompt": "",
        "seed": 2**64 - 1,
        "variation": {"seed": 9, "strength": 0.25},
        "width": 64,
        "height": 64,
        "steps": 4,
        "cfg": 5.0,
        "cfg_rescale": 0.0,
        "sampler": "dpmpp_2m",
        "schedule": "karras",
        "clip_skip": 2,
        "model": "tiny",
        "loras": [{"name": "film", "weight": 0.5, "text_weight": 0.25, "blocks": {"in": 0.5}}],
        "lora_triggers": False,
        "output": {"format": "png"},
        "prompt_syntax": "a1111",
    }


def test_emit_job_of_an_inpainted_picture_has_its_mask_or_says_why_not(
    indexd: Indexd, home: Path, library: SampleLibrary
) -> None:
    from indexd.jobs.parsing.yaml_guard import parse_yaml
    from indexd_schemas.recipe import InputRef, MaskRef
    from indexd_schemas.recipe_part import ModelRef

    source = InputRef(hash=content_of(library, home, "cats/cat-0.png"), name="cat-0.png", denoise=0.8)
    same: dict[str, Any] = {"kind": "inpaint", "seed": 1, "sampler": "euler", "input": source}
    same["model"] = ModelRef(name="tiny")
    masks = {
        "box": MaskRef(region="face", box=(0.1, 0.2, 0.3, 0.4), padding=0.5),
        "known": MaskRef(hash=content_of(library, home, "cats/cat-1.png"), name="m.png", blur=2),
        "gone": MaskRef(hash="ab" * 32, name="mask.png"),
    }
    for name, mask in masks.items():
        made_here(library, home, f"{name}.png", **same, mask=mask)
        answer = indexd("query", f"path:*/{name}.png", "--emit-job", str(home / f"{name}.yaml"))
        if name == "gone":
            assert answer.code == 1
            assert "the mask mask.png (abababababab…)" in answer.err
            assert "not in the index" in answer.err
            assert not (home / "gone.yaml").exists()
            continue
        assert answer.code == 0, answer.err
        data = parse_yaml((home / f"{name}.yaml").read_bytes()).data
        assert (data["kind"], data["input"], data["denoise"]) == ("inpaint", library.path("cats/cat-0.png"), 0.8)
        expected = {"box": [0.1, 0.2, 0.3, 0.4], "padding": 0.5} if name == "box" else {}
        assert data["mask"] == (expected or {"file": library.path("cats/cat-1.png")}) | {"invert": False}


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("rate", "a.png", "five"), "write a whole number from 0 to 5 (got five)"),
        (("rate", "a.png", "6"), "write a whole number from 0 to 5 (got 6)"),
        (("sample", "--seed", "-1"), "write a whole number of at least 0 (got -1)"),
        (("status", "--every", "often"), "write a number from 0.2 to 3600 (got often)"),
    ],
)
def test_a_number_out_of_range_is_refused_with_its_limits(
    indexd: Indexd, command: tuple[str, ...], message: str
) -> None:
    wrong = indexd(*command)
    assert wrong.code == 2
    assert message in wrong.err
