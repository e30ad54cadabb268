"""`indexd jobs expand`: what a job file would make, without a daemon."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import model_files
from tests.support.sample_library import SampleLibrary
from tests.unit.cli.conftest import Indexd


@pytest.fixture
def job_file(home: Path, library: SampleLibrary) -> Path:
    model_files.write_model(home / "base.safetensors", model_files.SDXL_CHECKPOINT)
    (home / "indexd.toml").write_text(
        f'[models.generator]\npath = "{(home / "base.safetensors").as_posix()}"\n', "utf-8"
    )
    (home / "wildcards").mkdir()
    (home / "wildcards" / "hair.txt").write_text("bob\nbraid\n", "utf-8")
    file = home / "girls.yaml"
    file.write_text(
        "kind: txt2img\ntemplate: {}\nprompt: a girl, __hair__, {red|blue} dress\nnegative_prompt: hat\nseed: 1\n",
        "utf-8",
    )
    return file


def test_a_job_file_is_expanded_for_a_person(indexd: Indexd, job_file: Path) -> None:
    shown = indexd("jobs", "expand", str(job_file), "--sample", "1")
    assert (shown.code, shown.err) == (0, "")
    lines = [line.strip() for line in shown.out.splitlines()]
    assert lines[0] == "girls  txt2img  4 images"
    assert lines[1:3] == ["hair: bob 2, braid 2", "1: red 2, blue 2"]
    assert lines[3].startswith("1  seed 1  ")
    assert lines[4:] == ["a girl, bob, red dress", "not: hat"]


def test_a_job_file_is_expanded_as_json(indexd: Indexd, job_file: Path) -> None:
    shown = indexd("jobs", "expand", str(job_file), "--json").json
    assert (shown["images"], shown["seconds"]) == (4, None)
    assert [one["choices"] for one in shown["sample"]][-1] == {"hair": "braid", "1": "blue"}
    assert list(shown["template_files"]) == ["hair.txt"]


def test_a_wrong_job_file_is_refused_with_its_place(indexd: Indexd, job_file: Path) -> None:
    job_file.write_text("kind: txt2img\ntemplate: {}\nprompt: __hear__\n", "utf-8")
    refused = indexd("jobs", "expand", str(job_file))
    assert refused.code != 0
    assert refused.out == ""
    assert "line 3, column 9: prompt, line 1, column 1: there is no wildcard 'hear'; did you mean 'hair'" in refused.err
