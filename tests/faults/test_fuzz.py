"""Whatever is written into a job file, a question, a prompt or a picture's metadata: one sentence or a result, never a crash.

`--hypothesis-profile=long` looks for minutes instead of seconds (tests/conftest.py has the profiles).
"""

from __future__ import annotations

import contextlib
import json
import struct
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from indexd.errors import IndexdError, JobRefused, UsageError
from indexd.image_metadata import infotext
from indexd.image_metadata.errors import UnreadableImage
from indexd.image_metadata.model import RawChunk
from indexd.image_metadata.parser import parse_metadata
from indexd.jobs.parsing import yaml_guard
from indexd.jobs.parsing.validation import parse_job
from indexd.prompts.composition import split_at_and
from indexd.prompts.emphasis import ChunkBreak, parse_weights
from indexd.prompts.lora_tags import LoraTagError, extract_lora_tags
from indexd.prompts.step_prompts import PromptScript
from indexd.registry import job_kinds
from indexd.search.query.filter_language import FILTER_KEYS, parse_filters
from indexd_schemas.jobs.job import Txt2ImgJob
from tests.support.paths import SHARED_CORPUS
from tests.unit.image_metadata.writers import SIGNATURE, chunk, facts, itxt, png, text, ztxt

CORPUS = SHARED_CORPUS / "hostile"

anything = some.text(max_size=200)
plain = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=20),
    lambda inside: some.lists(inside, max_size=4) | some.dictionaries(some.text(max_size=10), inside, max_size=4),
    max_leaves=12,
)
yaml_signs = some.text("abk01 :-?,[]{}#&*!|>'\"%@`\n\t<~.\\é\ufeff\u2028", max_size=120)
prompt_signs = some.text("ab ():[]|\\<>lora,.0123456789-ANDBREK\n\u2028\u0000", max_size=120)


def _sentence(error: Exception) -> None:
    assert str(error).strip()
    assert "Traceback" not in str(error)


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(inside) for key, inside in value.items())
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or type(value) in (str, int, float, bool)


@given(some.binary(max_size=300) | yaml_signs.map(str.encode) | plain.map(lambda data: json.dumps(data).encode()))
@example(b"a: &a [*a]")
@example(b"\xff\xfe")
@example(b"? " * 200)
def test_the_guard_gives_plain_data_or_a_sentence(source: bytes) -> None:
    try:
        document = yaml_guard.parse_yaml(source)
    except JobRefused as refused:
        _sentence(refused)
    else:
        assert _is_plain(document.data)


@given(some.dictionaries(some.sampled_from(sorted(Txt2ImgJob.model_fields)) | some.text(max_size=8), plain, max_size=6))
@example({"prompt": "a", "seed": float("inf")})
@example({"prompt": "a", "size": "99999999999999999999x1"})
def test_the_schema_gives_a_job_or_sentences(fields: dict[str, Any]) -> None:
    source = json.dumps({"kind": "txt2img", **fields}).encode()
    try:
        job = parse_job(yaml_guard.parse_yaml(source), job_kinds.kinds())
    except JobRefused as refused:
        _sentence(refused)
    else:
        assert job.kind in job_kinds.kinds()


@given(some.lists(anything | some.builds("{}:{}".format, some.sampled_from(sorted(FILTER_KEYS)), anything), max_size=3))
@example(['seed:"'])
@example(["-:"])
@example(["rating:4....5"])
def test_a_question_is_understood_or_gets_a_sentence(words: list[str]) -> None:
    try:
        filters = parse_filters(words)
    except UsageError as error:
        _sentence(error)
    else:
        assert all(one.key in FILTER_KEYS for one in filters)


@given(prompt_signs | anything, prompt_signs, some.integers(1, 60))
@example("[[[[a:b:1]:c:2]:d:3]:e:99999999999999999999]", "", 3)
@example("(" * 500 + "a" + ":1.5)" * 500, "", 1)
@example("[a:b:-1e999]", "[|||]", 5)
def test_every_prompt_means_something_at_every_step(prompt: str, negative: str, steps: int) -> None:
    script = PromptScript(prompt, negative, "a1111")
    for step in {1, (steps + 1) // 2, steps}:
        said = script.at(step, steps)
        for spoken in (*(part.text for part in said.positive), said.negative):
            for piece in parse_weights(spoken):
                assert isinstance(piece, ChunkBreak) or piece.weight == piece.weight
    assert split_at_and(prompt)
    plainly = PromptScript(prompt, negative, "plain").at(1, steps)
    assert [part.text for part in plainly.positive] == [prompt]


@given(prompt_signs | some.builds("a <lora:{}> b".format, prompt_signs))
@example("<lora:a:1e400>")
@example("<lora::::>")
def test_tags_are_taken_out_or_get_a_sentence(prompt: str) -> None:
    try:
        rest, tags = extract_lora_tags(prompt)
    except LoraTagError as error:
        _sentence(error)
    else:
        assert len(rest) <= len(prompt)
        assert all(tag.name for tag in tags)


KEYWORDS = (
    "parameters",
    "prompt",
    "workflow",
    "Comment",
    "Description",
    "Software",
    "invokeai_metadata",
    "indexd",
    "sd-metadata",
)
LINE = "a cat\nNegative prompt: b\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: {}, Size: 1x2, {}"
said = (
    anything
    | plain.map(json.dumps)
    | some.builds(LINE.format, some.integers(), anything)
    | some.dictionaries(some.sampled_from("12345"), plain, max_size=4).map(json.dumps)
)


@given(
    some.lists(some.builds(RawChunk, some.sampled_from([f"png:{key}" for key in KEYWORDS]), some.just("utf-8"), said))
)
def test_metadata_of_any_text_is_read_or_left(chunks: list[RawChunk]) -> None:
    found = parse_metadata(chunks)
    assert "failed" not in (found.problem or "")


@given(said)
def test_infotext_of_any_text(written: str) -> None:
    with contextlib.suppress(IndexdError):
        infotext.split_infotext(written)


def _survives(data: bytes) -> None:
    try:
        found = facts(data)
    except UnreadableImage as error:
        _sentence(error)
        assert "failed" not in str(error)
    else:
        assert found.width > 0
        assert "failed" not in (found.metadata.problem or "")


@given(
    some.lists(
        some.builds(chunk, some.binary(min_size=4, max_size=4), some.binary(max_size=60))
        | some.builds(lambda key, value: text(key, value.encode()), some.sampled_from(KEYWORDS), said)
        | some.builds(itxt, some.sampled_from(KEYWORDS), said)
        | some.builds(lambda key, value: ztxt(key, value), some.sampled_from(KEYWORDS), some.binary(max_size=60)),
        max_size=4,
    ),
    some.integers(0, 10_000),
    some.binary(max_size=4),
)
def test_pictures_with_any_chunks_cut_anywhere(chunks: list[bytes], cut: int, wrong: bytes) -> None:
    whole = png(*chunks)
    _survives(whole)
    place = cut % len(whole)
    _survives(whole[:place])
    _survives(whole[:place] + wrong + whole[place + len(wrong) :])


@given(some.binary(max_size=200))
@example(b"")
@example(SIGNATURE)
@example(b"\xff\xd8" + struct.pack(">HH", 0xFFE1, 1))
@example(b"RIFF\xff\xff\xff\xffWEBP")
def test_bytes_that_are_no_picture(data: bytes) -> None:
    for start in (b"", SIGNATURE, b"\xff\xd8\xff", b"RIFF\x10\0\0\0WEBP", b"GIF89a", b"II*\0", b"BM"):
        _survives(start + data)


@pytest.mark.skipif(not CORPUS.is_dir(), reason=f"the corpus of hostile files is not at {CORPUS}")
def test_the_hostile_strings_of_the_corpus() -> None:
    strings = json.loads((CORPUS / "names" / "blns.json").read_text("utf-8"))
    assert len(strings) > 400
    for hostile in strings:
        _check_everywhere(hostile)


def _check_everywhere(hostile: str) -> None:
    with contextlib.suppress(UsageError):
        parse_filters([hostile])
    with contextlib.suppress(UsageError):
        parse_filters([f"tag:{hostile}"])
    with contextlib.suppress(JobRefused):
        parse_job(yaml_guard.parse_yaml(json.dumps({"kind": "txt2img", "prompt": hostile}).encode()), job_kinds.kinds())
    with contextlib.suppress(JobRefused):
        yaml_guard.parse_yaml(hostile.encode("utf-8", "surrogatepass"))
    with contextlib.suppress(LoraTagError):
        extract_lora_tags(hostile)
    PromptScript(hostile, hostile, "a1111").at(1, 3)
    _survives(png(itxt("parameters", hostile), itxt("prompt", hostile)))
