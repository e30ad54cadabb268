"""The file handler: one settled file in, one sighting out, whatever the file is."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from indexd.fs.file_stamp import FileStamp, SettledFile
from indexd.registry import IngestContext, file_kinds
from indexd.store.records import ScannedFile
from indexd_handlers.image_file import scan_images
from indexd_schemas.settings import Settings
from tests.support.scanning import scan_image
from tests.unit.image_metadata.writers import png, text

INFOTEXT = "a duck\nNegative prompt: a goose\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 5"


def sight(root: Path, name: str | bytes) -> ScannedFile:
    rel = os.fsencode(name)
    stamp = FileStamp.from_stat(os.lstat(os.path.join(os.fsencode(root), rel)))
    return scan_image(SettledFile(3, os.fsencode(root), rel, stamp, "images"), IngestContext(Settings()))


def test_it_is_the_handler_of_images() -> None:
    assert file_kinds.get("image") is scan_images


def test_a_picture_has_facts_and_the_stages_it_needs(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.png").write_bytes(png(text("parameters", INFOTEXT)))
    sighting = sight(tmp_path, "sub/a.png")
    assert sighting.facts is not None
    assert (sighting.root_id, sighting.rel, sighting.problem) == (3, b"sub/a.png", None)
    assert sighting.facts.metadata.prompt == "a duck"
    assert sighting.stages == ("thumbnail", "clip_h", "bge_prompt", "bge_negative", "clip_l", "clip_g")
    (tmp_path / "plain.png").write_bytes(png())
    assert sight(tmp_path, "plain.png").stages == ("thumbnail", "clip_h")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "the file is empty"), (b"words", "none of PNG"), (png()[:20], "ends before its header")],
)
def test_what_is_no_picture_has_its_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.png").write_bytes(content)
    sighting = sight(tmp_path, "a.png")
    assert sighting.facts is None
    assert reason in (sighting.problem or "")


@pytest.mark.skipif(sys.platform == "win32", reason="names of files are Unicode on Windows")
def test_names_that_are_no_text(tmp_path: Path) -> None:
    name = b"caf\xe9\xff.png"
    try:
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:
            file.write(png())
    except OSError:
        pytest.skip("this file system takes only names that are UTF-8")
    assert sight(tmp_path, name).rel == name


def test_a_file_that_is_gone_again_is_not_recorded(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    stamp = FileStamp.from_stat(os.stat(tmp_path / "a.png"))
    (tmp_path / "a.png").unlink()
    with pytest.raises(FileNotFoundError):
        scan_image(SettledFile(1, os.fsencode(tmp_path), b"a.png", stamp, "images"), IngestContext(Settings()))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_a_problem_and_not_a_wait(tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("Windows has no named pipes in folders")
    os.mkfifo(tmp_path / "pipe.png")
    assert "a pipe" in (sight(tmp_path, "pipe.png").problem or "")


def test_texts_beside_a_picture_are_read_when_it_says_nothing_itself(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "a.txt").write_text(INFOTEXT, "utf-8")
    sighting = sight(tmp_path, "a.png")
    assert sighting.facts is not None
    assert (sighting.facts.metadata.seed, sighting.facts.metadata.source) == ("5", "sidecar:txt")
    (tmp_path / "a.png").write_bytes(png(text("parameters", INFOTEXT.replace("Seed: 5", "Seed: 6"))))
    own = sight(tmp_path, "a.png")
    assert own.facts is not None
    assert own.facts.metadata.seed == "6"


def test_a_caption_for_training_is_no_prompt(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "a.txt").write_text("1girl, solo, standing", "utf-8")
    sighting = sight(tmp_path, "a.png")
    assert sighting.facts is not None
    assert (sighting.facts.metadata.is_ai, sighting.facts.metadata.prompt) == (None, None)


def test_sidecars_that_cannot_be_read_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "a.txt").mkdir()
    (tmp_path / "a.json").write_bytes(b"x" * (2 << 20))
    sighting = sight(tmp_path, "a.png")
    assert sighting.facts is not None
    assert sighting.facts.metadata.raw == ()
