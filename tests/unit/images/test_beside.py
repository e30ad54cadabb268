"""Texts beside pictures: sidecars of every program, Fooocus' log, and those that come after the picture was read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from indexd.fs.file_stamp import FileStamp, SettledFile
from indexd.image_metadata.formats import fooocus_log_entry
from indexd.image_metadata.model import ImageFacts, ImageMetadata, MetadataLora, PhotoAnnotations, ResourceUse
from indexd.images import fooocus_log, sidecar_texts
from indexd.images.read_images import read_images
from indexd.images.xmp_sidecar_writer import XMP_SUFFIX, render_xmp_sidecar
from indexd.registry import IngestContext
from indexd.store.sqlite.store import SqliteStore
from indexd.watch import sidecar_names
from indexd.worker.calls import ReadImages
from indexd_schemas.settings import Settings
from tests.support.scanning import scan_image
from tests.unit.image_metadata.writers import png, text

INFOTEXT = "a duck\nNegative prompt: a goose\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 5"
ROWS = {
    "Prompt": "a duck\non a pond",
    "Negative Prompt": "a <b>goose</b> & more",
    "Fooocus V2 Expansion": "a duck, sharp",
    "Styles": "['Fooocus V2']",
    "Performance": "Speed",
    "Resolution": "(1152, 896)",
    "Guidance Scale": "4.0",
    "Base Model": "juggernautXL_v8.safetensors",
    "Refiner Model": "None",
    "Sampler": "dpmpp_2m_sde_gpu",
    "Scheduler": "karras",
    "Seed": "127589946317439009",
    "LoRA 1": "sd_xl_offset.safetensors : 0.1",
    "Version": "v2.3.1",
}


def entry(name: str, rows: dict[str, str], *, key: str = "key", mark: str = "'", button: bool = False) -> str:
    cells = "".join(
        f"<tr><td class='{key}'>{label}</td><td class='value'>{value.replace(chr(10), ' </br> ')}</td></tr>\n"
        for label, value in rows.items()
    )
    shown = f"<a href={mark}{name}{mark}><img src={mark}{name}{mark} loading='lazy'></img></a><div>{name}</div>"
    press = f"<button onclick=\"to_clipboard('{quote(json.dumps(rows), safe='')}')\">Copy</button>" if button else ""
    return (
        f'<div id="{name.replace(".", "_")}" class="image-container">\n<hr><table><tr><td>{shown}</td><td>'
        f"<table class='metadata'>{cells}</table>{press}</td></tr></table></div>\n\n"
    )


def log(*entries: str) -> str:
    return f"<html><body><p>Fooocus Log (private)</p><!--fooocus-log-split-->\n{''.join(entries)}<!--fooocus-log-split--></body></html>"


def read(path: Path) -> ImageMetadata:
    stamp = FileStamp.from_stat(os.lstat(path))
    settled = SettledFile(1, os.fsencode(path.parent), os.fsencode(path.name), stamp, "images")
    sighting = scan_image(settled, IngestContext(Settings()))
    assert sighting.facts is not None
    return sighting.facts.metadata


@pytest.mark.parametrize(
    "form", [{}, {"key": "label"}, {"mark": '"'}, {"button": True}], ids=["2.0", "2.1", "double quotes", "button"]
)
def test_fooocus_log_in_all_its_forms(tmp_path: Path, form: dict[str, Any]) -> None:
    others = [entry(f"other-{number}.png", {**ROWS, "Seed": str(number)}, **form) for number in range(30)]
    (tmp_path / "log.html").write_text(log(*others[:15], entry("a.png", ROWS, **form), *others[15:]), "utf-8")
    (tmp_path / "a.png").write_bytes(png())
    found = read(tmp_path / "a.png")
    assert (found.generator, found.generator_version, found.source) == ("fooocus", "v2.3.1", "sidecar:log.html")
    assert (found.prompt, found.negative_prompt) == ("a duck\non a pond", "a <b>goose</b> & more")
    assert (found.seed, found.cfg, found.sampler) == ("127589946317439009", 4.0, "dpmpp_2m_sde_gpu")
    assert (found.model_name, found.refiner, found.schedule) == ("juggernautXL_v8", None, "karras")
    assert (found.gen_width, found.gen_height, found.loras) == (1152, 896, (MetadataLora("sd_xl_offset", 0.1),))
    assert ("Performance", "Speed") in found.extras
    assert "other-" not in found.raw[0].text


def test_loras_of_older_logs() -> None:
    twice = entry("a.png", {"Prompt": "a"}) + "<td class='key'>LoRA</td><td class='value'>one : 0.5</td>"
    found = fooocus_log_entry.parse_log_entry(twice + "<td class='label'>LoRA</td><td class='value'>two : -1</td>")
    assert (found["LoRA 1"], found["LoRA 2"]) == ("one : 0.5", "two : -1")


def test_the_weight_of_a_lora_may_be_all_that_is_its_value(tmp_path: Path) -> None:
    (tmp_path / "log.html").write_text(log(entry("a.png", {**ROWS, "LoRA [x.safetensors] weight": "0.25"})), "utf-8")
    (tmp_path / "a.png").write_bytes(png())
    assert MetadataLora("x", 0.25) in read(tmp_path / "a.png").loras


def test_a_picture_that_is_not_in_the_log_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "log.html").write_text(log(entry("a.png", ROWS)), "utf-8")
    for name in ("b.png", "xa.png"):
        (tmp_path / name).write_bytes(png())
        assert read(tmp_path / name).is_ai is None
    (tmp_path / "log.html").write_text("<a href='b.png'>a page of somebody's holidays</a>", "utf-8")
    assert read(tmp_path / "b.png").is_ai is None


def test_what_a_picture_says_itself_is_preferred_to_the_log(tmp_path: Path) -> None:
    (tmp_path / "log.html").write_text(log(entry("a.png", ROWS)), "utf-8")
    (tmp_path / "a.png").write_bytes(png(text("parameters", INFOTEXT)))
    assert read(tmp_path / "a.png").seed == "5"


def test_a_log_is_read_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "log.html").write_text(log(entry("a.png", {**ROWS, "Prompt": "x" * 600_000})), "utf-8")
    assert len(read(tmp_path / "a.png").raw[0].text) <= fooocus_log.ENTRY_BYTES_MAX
    monkeypatch.setattr(fooocus_log, "LOG_BYTES_MAX", 100)
    assert read(tmp_path / "a.png").raw == ()
    (tmp_path / "log.html").unlink()
    (tmp_path / "log.html").mkdir()
    assert read(tmp_path / "a.png").raw == ()


META = {
    "prompt": "a duck <lora:x:0.5>",
    "negativePrompt": "a goose",
    "cfgScale": 7,
    "steps": 20,
    "sampler": "Euler a",
    "seed": 18446744073709551615,
    "Model": "some",
    "Size": "512x768",
    "clipSkip": 2,
    "resources": [{"type": "lora", "name": "y", "weight": 0.3, "hash": "ab"}],
    "civitaiResources": [{"type": "checkpoint", "modelVersionId": 128078}],
}


@pytest.mark.parametrize("name", ["a.civitai.info", "a.json"])
@pytest.mark.parametrize("whole", [META, {"id": 5, "url": "https://x/a.png", "meta": META}], ids=["bare", "answer"])
def test_civitais_description_of_a_picture(tmp_path: Path, name: str, whole: dict[str, Any]) -> None:
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / name).write_text(json.dumps(whole), "utf-8")
    found = read(tmp_path / "a.png")
    assert (found.generator, found.prompt, found.negative_prompt) == ("civitai", "a duck <lora:x:0.5>", "a goose")
    assert (found.seed, found.steps, found.cfg, found.sampler) == ("18446744073709551615", 20, 7.0, "Euler a")
    assert (found.model_name, found.gen_width, found.clip_skip) == ("some", 512, 2)
    assert found.loras == (MetadataLora("x", 0.5), MetadataLora("y", 0.3, None, "ab"))
    assert found.resources == (ResourceUse("128078", "checkpoint"),)


def test_a_description_of_a_model_is_none_of_its_preview(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    model = {"id": 128078, "modelId": 101055, "name": "v1.0", "images": [{"url": "x", "meta": META}]}
    (tmp_path / "a.civitai.info").write_text(json.dumps(model), "utf-8")
    assert read(tmp_path / "a.png").is_ai is None


def xmp(rating: int) -> bytes:
    return (
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description'
        f' xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="{rating}"/></rdf:RDF>'
    ).encode()


def beside(path: Path) -> PhotoAnnotations | None:
    (facts,) = read_images(ReadImages((os.fsencode(path),))).results
    assert isinstance(facts, ImageFacts)
    return facts.sidecar_annotations


def test_xmp_beside_an_image_is_read_whatever_the_image_states(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(text("parameters", INFOTEXT)))
    assert beside(tmp_path / "a.png") is None
    (tmp_path / "a.xmp").write_bytes(xmp(2))
    assert beside(tmp_path / "a.png") == PhotoAnnotations(2)
    (tmp_path / "a.png.xmp").write_bytes(xmp(4))
    assert beside(tmp_path / "a.png") == PhotoAnnotations(4)
    (tmp_path / "a.png.xmp").write_bytes(b"<html>")
    assert beside(tmp_path / "a.png") == PhotoAnnotations()
    # Ours repeats the index.
    (tmp_path / "a.png.xmp").write_bytes(render_xmp_sidecar(5, ["x"], None))
    assert beside(tmp_path / "a.png") == PhotoAnnotations(2)


def test_a_sidecar_brings_the_images_that_it_is_about(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "a.png.webp", "b.png"):
        (tmp_path / name).touch()
    root = os.fsencode(tmp_path)
    assert sidecar_names.is_sidecar(b"a.PNG.XMP")
    assert set(sidecar_names.find_images_of_sidecar(root, b"a.xmp")) == {b"a.png", b"a.jpg"}
    assert set(sidecar_names.find_images_of_sidecar(root, b"a.png.xmp")) == {b"a.png", b"a.png.webp"}


def test_the_watcher_and_the_reader_know_the_same_texts() -> None:
    read = {ending for ending, _ in sidecar_texts._SUFFIXES}
    assert {*read, XMP_SUFFIX} == set(sidecar_names.SIDECAR_SUFFIXES)


def test_a_text_that_came_later_is_told_of_a_silent_picture_only(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "b.png").write_bytes(png(text("parameters", INFOTEXT)))
    with SqliteStore.open(tmp_path / "index.db") as store:
        root = store.roots.ensure(os.fsencode(tmp_path), "images").id

        def record(name: str) -> int:
            settled = SettledFile(
                root, os.fsencode(tmp_path), name.encode(), FileStamp.from_stat(os.lstat(tmp_path / name)), "images"
            )
            image_id = store.images.ingest([scan_image(settled, IngestContext(Settings()))], 1.0)[0].image_id
            assert image_id is not None
            return image_id

        silent, speaking = record("a.png"), record("b.png")
        store.annotations.rate([silent], 4)
        for name in ("a.txt", "b.txt"):
            (tmp_path / name).write_text(INFOTEXT.replace("duck", "swan").replace("Seed: 5", "Seed: 6"), "utf-8")
        assert (record("a.png"), record("b.png")) == (silent, speaking)
        rows = store.images.rows([silent, speaking])
        assert (rows[silent].prompt, rows[silent].seed, rows[silent].rating) == ("a swan", "6", 4)
        assert (rows[speaking].prompt, rows[speaking].seed) == ("a duck", "5")
        assert [hit for hit, _ in store.fulltext.match("swan", 5)] == [silent]
        assert {row.stage for row in store.index_tasks.of_image(silent)} >= {
            "bge_prompt",
            "bge_negative",
            "clip_l",
            "clip_g",
        }
        (tmp_path / "a.txt").write_text(INFOTEXT.replace("duck", "crane"), "utf-8")
        record("a.png")
        assert store.images.rows([silent])[silent].prompt == "a crane"


def test_the_index_tells_which_pictures_say_nothing_themselves(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "b.png").write_bytes(png(text("parameters", INFOTEXT)))
    (tmp_path / "c.png").write_bytes(png(size=(5, 5)))
    (tmp_path / "c.txt").write_text(INFOTEXT, "utf-8")
    with SqliteStore.open(tmp_path / "index.db") as store:
        root = store.roots.ensure(os.fsencode(tmp_path), "images").id
        for name in (b"a.png", b"b.png", b"c.png"):
            settled = SettledFile(
                root, os.fsencode(tmp_path), name, FileStamp.from_stat(os.lstat(tmp_path / os.fsdecode(name))), "images"
            )
            store.images.ingest([scan_image(settled, IngestContext(Settings()))], 7.0)
        rels = [b"a.png", b"b.png", b"c.png", *(b"%d.png" % number for number in range(1200))]
        assert store.files.without_own_metadata(root, rels) == {b"a.png": 7.0, b"c.png": 7.0}
        assert store.files.first_read_times(root, rels) == {b"a.png": 7.0, b"b.png": 7.0, b"c.png": 7.0}
        store.files.mark_missing(root, [b"a.png"], 8.0)
        assert store.files.without_own_metadata(root, rels) == {b"c.png": 7.0}
