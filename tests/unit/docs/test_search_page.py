"""Runs the examples of docs/search.md and compares output and exit codes."""

from __future__ import annotations

import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from indexd.cli.app import run
from indexd.config import read_config
from indexd.jobs.parsing.yaml_guard import parse_yaml
from indexd.search.query.query_embedder import FakeQueryEmbedder
from indexd.store.sqlite.store import SqliteStore
from indexd.worker.calls import Embedded, EmbedImages, EmbedText, FoundRegion
from indexd.worker.fake_workers import seeded_unit_vector as face_of
from indexd_schemas.jobs.job import JOB_KINDS
from tests.support.paths import DOCS
from tests.support.sample_library import DIM, SUBJECTS, SampleLibrary, make_library, normalize, subject_vector

PAGE = DOCS / "search.md"
_CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_EXIT = re.compile(r"\(exit code (\d)\)")


@dataclass(frozen=True)
class Example:
    """A command and its output lines; `…` matches any number of lines."""

    words: tuple[str, ...]
    lines: tuple[str, ...]
    code: int


def examples() -> list[Example]:
    found = []
    for block in _CONSOLE.findall(PAGE.read_text("utf-8")):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *lines = part.rstrip("\n").split("\n")
            codes = [int(match[1]) for line in lines if (match := _EXIT.fullmatch(line))]
            shown = tuple(line for line in lines if not _EXIT.fullmatch(line))
            found.append(Example(tuple(shlex.split(command)), shown, codes[0] if codes else 0))
    return found


def toy(call: EmbedText | EmbedImages) -> Embedded:
    """A fake model that knows the four subjects by name."""
    assert isinstance(call, EmbedText)
    vector = sum((subject_vector(subject) for subject in SUBJECTS if subject in call.texts[0].split()), np.zeros(DIM))
    return Embedded(normalize(vector + 0.01)[None, :], "toy")


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A home with 120 images: thirty cats, dogs, houses and seas, with vectors in every layer."""
    folder = Path(tempfile.mkdtemp(prefix="ixd-"))
    with SqliteStore.open(read_config(folder).paths.index) as store:
        library = make_library(store, folder / "pictures", images_per_subject=30)
        subject_of = {name: name.partition("s/")[0] for name in library.ids}
        for layer in ("clip_l", "clip_g"):
            library.embed(layer, {name: subject_vector(subject) for name, subject in subject_of.items()}, of="prompt")
        library.embed(
            "bge_negative",
            {name: subject_vector("sea" if "cat" in name else "dog") for name in library.ids},
            of="negative_prompt",
        )
        give_faces(library)
        library.store.annotations.rate([library.ids[f"cats/cat-{number}.png"] for number in (3, 4)], 5)
        library.store.annotations.rate([library.ids["dogs/dog-3.png"]], 4)
        library.store.annotations.tag([library.ids["cats/cat-4.png"]], ["bad"], [])
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def give_faces(library: SampleLibrary) -> None:
    """Give each image its own face, except two cats that share one."""
    library.store.faces.set_enabled(on=True)
    revision = library.store.faces.activate("toy", 64, "toy")
    for name, image_id in library.ids.items():
        person = "one" if name in ("cats/cat-3.png", "cats/cat-4.png") else name
        face = FoundRegion("face", "toy", 0.2, 0.2, 0.5, 0.5, 0.9, 40, 50.0, 0.7, row=0)
        library.store.faces.put(revision, {image_id: [face]}, face_of(person.encode(), 64)[None, :])


@pytest.mark.parametrize("example", examples(), ids=lambda example: shlex.join(example.words)[:80])
def test_an_example_prints_what_the_page_shows(
    example: Example, home: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("INDEXD_HOME", raising=False)
    monkeypatch.chdir(home / "pictures")
    monkeypatch.setattr(
        "indexd.search.query.query_embedder.WorkerQueryEmbedder", lambda *_given: FakeQueryEmbedder(toy)
    )
    program, *arguments = example.words
    if program == "cat":
        printed, code = Path(arguments[0]).read_text("utf-8"), 0
        data = parse_yaml(printed.encode()).data
        JOB_KINDS[data["kind"]].model_validate(data)
    else:
        assert program == "indexd"
        code = run(["--home", str(home), *arguments])
        captured = capfd.readouterr()
        printed = captured.out + captured.err
    lines = printed.replace(f"{home / 'pictures'}/", "").splitlines()
    assert code == example.code, printed
    assert_printed(lines, example.lines)


def assert_printed(lines: list[str], wanted: tuple[str, ...]) -> None:
    """Compare lines; a line `…` matches any number of lines."""
    if "…" not in wanted:
        assert lines == list(wanted)
        return
    place = wanted.index("…")
    before, after = wanted[:place], wanted[place + 1 :]
    assert len(lines) > len(before) + len(after)
    assert tuple(lines[:place]) == before
    assert tuple(lines[len(lines) - len(after) :]) == after


def test_every_option_has_an_example() -> None:
    from indexd.cli.commands.query import query

    used = {word for example in examples() for word in example.words}
    names = {parameter.opts[0] for parameter in query.params if parameter.param_type_name == "option"}
    assert len(examples()) >= 15
    # These open windows, or differ from another example only in the output format.
    assert names - used <= {"--open", "--jsonl", "--json", "--null", "-0", "--not-negative-prompt", "--help"}
