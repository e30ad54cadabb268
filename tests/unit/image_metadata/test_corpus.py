"""Real files that nobody here wrote, where they lie beside the checkout; skipped, saying so, where they do not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from indexd.image_metadata import coerce
from indexd.image_metadata.errors import UnreadableImage
from indexd.image_metadata.file_reader import read_image
from indexd.image_metadata.model import ImageMetadata
from tests.support.paths import SHARED_CORPUS

CORPUS = SHARED_CORPUS
FOLDERS = ("metadata", "metadata-2")
HOSTILE = CORPUS / "hostile" / "images"

pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason=f"the corpus of real files is not at {CORPUS}")


def cases() -> list[dict[str, Any]]:
    found = []
    for folder in FOLDERS:
        path = CORPUS / folder / "expected.jsonl"
        for line in path.read_text("utf-8").splitlines() if path.exists() else ():
            case = json.loads(line)
            found.append({**case, "path": CORPUS / folder / case["file"]})
    return found


def metadata_of(path: Path) -> ImageMetadata:
    with open(path, "rb") as file:
        return read_image(file, path.stat().st_size, path.name).metadata


def plain(value: Any) -> Any:
    return value.replace("\r\n", "\n").strip() if isinstance(value, str) else value


@pytest.mark.parametrize("case", cases(), ids=lambda case: case["file"])
def test_all_seven_fields(case: dict[str, Any]) -> None:
    if case["generator"] == "none":
        try:
            found = metadata_of(case["path"])
        except UnreadableImage:
            return
        assert (found.is_ai, found.generator, found.prompt) == (None, None, None)
        return
    metadata = metadata_of(case["path"])
    assert metadata.problem is None
    got = {
        "prompt": plain(metadata.prompt),
        "negative": plain(metadata.negative_prompt),
        "seed": None if metadata.seed is None else int(metadata.seed),
        "steps": metadata.steps,
        "cfg": metadata.cfg,
        "sampler": metadata.sampler,
        "model": metadata.model_name,
    }
    for field, answer in got.items():
        wanted = case[field]
        choices = wanted["any_of"] if isinstance(wanted, dict) else [wanted]
        named = (
            [coerce.parse_model_name(choice) for choice in choices]
            if field == "model"
            else [plain(choice) for choice in choices]
        )
        assert answer in named, field


def choices_of(wanted: Any) -> list[Any]:
    """The answers that count as right."""
    return wanted["any_of"] if isinstance(wanted, dict) else [wanted]


@pytest.mark.parametrize("case", cases(), ids=lambda case: case["file"])
def test_the_other_fields_where_they_are_stated(case: dict[str, Any]) -> None:
    if case["generator"] == "none":
        return
    metadata = metadata_of(case["path"])
    found = {
        "size": f"{metadata.gen_width}x{metadata.gen_height}",
        "model_hash": metadata.model_hash,
        "scheduler": metadata.schedule,
        "denoise": metadata.denoise,
        "clip_skip": metadata.clip_skip,
        "is_ai": metadata.is_ai,
    }
    for field, answer in found.items():
        if case.get(field) is not None:
            assert answer in choices_of(case[field]), field
    if "loras" in case:
        named = [[[coerce.parse_model_name(name), weight] for name, weight in one] for one in choices_of(case["loras"])]
        assert [[use.name, use.weight] for use in metadata.loras] in named
    if "controlnets" in case:
        units = [[use.model, use.weight] for use in metadata.controls]
        assert sorted(units) == sorted([coerce.parse_model_name(name), weight] for name, weight in case["controlnets"])


def hostile() -> list[Path]:
    return sorted(path for path in HOSTILE.rglob("*") if path.is_file()) if HOSTILE.is_dir() else []


@pytest.mark.timeout(300)
def test_hostile_pictures_have_facts_or_a_reason() -> None:
    assert hostile()
    for path in hostile():
        try:
            with open(path, "rb") as file:
                found = read_image(file, path.stat().st_size, path.name)
        except UnreadableImage as error:
            assert str(error), path
            assert "failed" not in str(error), path
        else:
            assert found.width > 0, path
            assert found.metadata.is_ai is None, path
            assert "failed" not in (found.metadata.problem or ""), path


DECODING = """
import os, resource, sys
from indexd.errors import NotAnImage
from indexd.images.decode import open_image
from indexd.images.image_reader import read_image
resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}))
shown = refused = 0
for path in sys.stdin.buffer.read().split(b"\\0"):
    try:
        with open(path, "rb") as file:
            read_image(file, os.path.getsize(path), "x")
        open_image(path)
        shown += 1
        if os.path.basename(path).startswith(b"x") and b"pngsuite" in path:
            raise SystemExit("shown but must fail: " + os.fsdecode(path))
    except NotAnImage as error:
        refused += 1
        assert str(error)
print(shown, refused)
"""


@pytest.mark.timeout(300)
@pytest.mark.skipif(sys.platform != "linux", reason="the limit on memory is set with RLIMIT_AS")
@pytest.mark.starts_process
def test_hostile_pictures_decode_or_are_refused_in_bounded_memory() -> None:
    resource = pytest.importorskip("resource")
    limit = 3 << 30
    assert resource.getrlimit(resource.RLIMIT_AS)[1] == resource.RLIM_INFINITY
    paths = b"\0".join(str(path).encode() for path in hostile())
    done = subprocess.run(
        [sys.executable, "-c", DECODING.format(limit=limit)], input=paths, capture_output=True, timeout=280
    )
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")[-2000:]
    shown, refused = map(int, done.stdout.split())
    assert shown > 100
    assert refused > 300
