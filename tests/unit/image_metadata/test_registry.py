"""The registry: one reader a format, in an order, and never an exception out of it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from indexd.image_metadata import coerce, registry
from indexd.image_metadata.errors import DuplicateReader
from indexd.image_metadata.model import PARSER_VERSION, ImageMetadata, RawChunk
from indexd.image_metadata.parser import formats, parse_metadata, registered_readers
from indexd.image_metadata.redact import redact_secrets
from indexd.image_metadata.sanitize import LIST_ITEMS_MAX
from tests.support.paths import DOCS

FORMATS = DOCS / "formats.md"


def readers_of_the_package() -> list[registry.FormatReader]:
    """The registered readers without those that other packages add (indexd.images.recipe_reader)."""
    return [one for one in registered_readers() if one.read.__module__.startswith("indexd.image_metadata.")]


def test_every_format_module_is_imported_and_registers_one_reader() -> None:
    with_reader = {
        file.stem
        for file in Path(formats.__path__[0]).glob("*.py")
        if re.search(r"^@register_reader\(", file.read_text("utf-8"), re.MULTILINE)
    }
    registered = {reader.read.__module__.rsplit(".", 1)[1] for reader in readers_of_the_package()}
    assert registered == with_reader
    assert registered <= set(formats.__all__)
    assert len({reader.rank for reader in registered_readers()}) == len(registered_readers())


@pytest.mark.skipif(not FORMATS.exists(), reason="docs/formats.md is not there")
def test_the_docs_name_every_format() -> None:
    text = FORMATS.read_text("utf-8")
    assert [reader.name for reader in registered_readers() if f"`{reader.name}`" not in text] == []


def test_signatures_of_addresses_are_not_shown() -> None:
    shown = redact_secrets('{"image": "https://x.org/a.jpeg?sig=CfDJ8N_q&exp=2027-01-04T01:27:22Z"}')
    assert shown == '{"image": "https://x.org/a.jpeg?sig=…&exp=2027-01-04T01:27:22Z"}'
    answer = parse_metadata(
        [RawChunk("png:parameters", "utf-8", 'a\nSteps: 1, Seed: 1, Init: "https://x.org/a?b=1&token=abc"')]
    )
    assert ("Init", "https://x.org/a?b=1&token=…") in answer.extras


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://x.org/a?w=1&X-Amz-Signature=abc123&z=1", "https://x.org/a?w=1&X-Amz-Signature=…&z=1"),
        ("https://x.org/a?X-Amz-Security-Token=FwoG/x==", "https://x.org/a?X-Amz-Security-Token=…"),
        (r'{"u": "https:\/\/x\/a?b=1\u0026token=abc\u0026c=2"}', r'{"u": "https:\/\/x\/a?b=1\u0026token=…\u0026c=2"}'),
        ("see &lt;https://x/a?b=1&amp;sig=abc&amp;c=2", "see &lt;https://x/a?b=1&amp;sig=…&amp;c=2"),
        (
            "https://x/?url=https%3A%2F%2Fy%3Fsignature%3Dabc%26w%3D3",
            "https://x/?url=https%3A%2F%2Fy%3Fsignature%3D…%26w%3D3",
        ),
        ("https://x/a?api_key=abc", "https://x/a?api_key=…"),
        ("https://x/a.png?width=512&monkey=1", "https://x/a.png?width=512&monkey=1"),
        ("a prompt; key=light, token=1girl? yes", "a prompt; key=light, token=1girl? yes"),
    ],
)
def test_whatever_writes_an_address_its_signature_is_found(text: str, shown: str) -> None:
    assert redact_secrets(text) == shown


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_readers", {})
    yield


@pytest.mark.usefixtures("own_registry")
def test_two_readers_of_a_format_are_both_named() -> None:
    def other(_texts: Any) -> ImageMetadata | None:
        return None

    other.__module__ = "somewhere.else"
    registry.register_reader("x", rank=1)(other)
    with pytest.raises(DuplicateReader, match=r"somewhere\.else and by .*test_registry"):

        @registry.register_reader("x", rank=2)
        def again(_texts: Any) -> ImageMetadata | None:
            return None


@pytest.mark.usefixtures("own_registry")
def test_a_reader_that_fails_is_named_and_the_next_one_asked(caplog: pytest.LogCaptureFixture) -> None:
    @registry.register_reader("first", rank=1)
    def first(_texts: Any) -> ImageMetadata | None:
        raise KeyError("oops")

    @registry.register_reader("second", rank=2)
    def second(_texts: Any) -> ImageMetadata | None:
        return ImageMetadata(prompt="found")

    with caplog.at_level(logging.ERROR):
        answer = parse_metadata([RawChunk("a", "utf-8", "b")])
    assert (answer.prompt, answer.problem) == ("found", "the reader of first failed: KeyError")
    assert "Traceback" in caplog.text


@pytest.mark.usefixtures("own_registry")
def test_only_a_filling_reader_completes_an_answer() -> None:
    registry.register_reader("first", rank=1)(lambda _texts: ImageMetadata(generator="first", prompt="a", seed=None))

    def second(_texts: Any) -> ImageMetadata | None:
        return ImageMetadata(generator="second", prompt="b", seed="1", steps=0)

    registry.register_reader("second", rank=2)(second)
    assert parse_metadata([RawChunk("a", "utf-8", "b")]).seed is None
    registry.register_reader("second", rank=2, fills_gaps=True)(second)
    answer = parse_metadata([RawChunk("a", "utf-8", "b")])
    assert (answer.generator, answer.prompt, answer.seed, answer.steps) == ("first", "a", "1", 0)


def test_what_comes_out_can_be_stored() -> None:
    text = json.dumps({"prompt": "half \ud83d a pair\0", "num_inference_steps": 10**400, "seed": 3})
    answer = parse_metadata([RawChunk("png:parameters", "utf-8", text)])
    assert answer.prompt == "half ? a pair"
    assert (answer.steps, answer.seed) == (None, "3")
    assert answer.parser_version == PARSER_VERSION
    assert answer.raw[0].text == text


def test_extras_are_bounded() -> None:
    line = "a\nSteps: 1, Seed: 1, " + ", ".join(f"Key{number}: {'v' * 9000}" for number in range(400))
    answer = parse_metadata([RawChunk("png:parameters", "utf-8", line)])
    assert len(answer.extras) <= LIST_ITEMS_MAX
    assert all(len(value) <= 4000 for _, value in answer.extras)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        ("0", "0"),
        (2**64 - 1, "18446744073709551615"),
        ("127589946317439009", "127589946317439009"),
        (5.0, "5"),
        (2.0**60, None),
        (2**64, None),
        (-1, None),
        ("-1", None),
        (True, None),
        (None, None),
        ("", None),
        ("٣", None),
        ("9" * 5000, None),
        (float("nan"), None),
        ([], None),
    ],
)
def test_seeds(value: Any, expected: str | None) -> None:
    assert coerce.parse_seed(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("20", 20),
        (20.0, 20),
        ("7.000000", 7),
        (7.5, None),
        (2**40, None),
        ("inf", None),
        (None, None),
        (False, None),
        ("x", None),
    ],
)
def test_whole_numbers(value: Any, expected: int | None) -> None:
    assert coerce.parse_int(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("models\\SDXL/some.v1.0.safetensors", "some.v1.0"),
        ("Anything-V3.0.ckpt", "Anything-V3.0"),
        ("NovelAI Diffusion V4.5", "NovelAI Diffusion V4.5"),
        ("None", None),
        ("", None),
        ("x/", None),
        (3, None),
    ],
)
def test_model_names(value: Any, expected: str | None) -> None:
    assert coerce.parse_model_name(value) == expected


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, '{"a": ' + "9" * 10_000 + "}", '"', "{", ""])
def test_json_that_hurts_is_no_json(text: str) -> None:
    assert coerce.parse_json(text) is None
