"""Reading never raises anything but UnreadableImage, and never runs away: pictures cut, scrambled and made to hurt."""

from __future__ import annotations

import io
import json
import random
import struct
import zlib

import pytest
from PIL import Image

from indexd.image_metadata import coerce, infotext
from indexd.image_metadata import file_reader as reading
from indexd.image_metadata.errors import UnreadableImage
from indexd.image_metadata.model import RawChunk
from indexd.image_metadata.parser import parse_metadata
from tests.unit.image_metadata.video_writers import comment, mp4, tags, webm
from tests.unit.image_metadata.writers import (
    SIGNATURE,
    chunk,
    facts,
    itxt,
    jpeg,
    png,
    text,
    tiff,
    user_comment,
    webp,
    ztxt,
)

GRAPH = json.dumps(
    {
        "1": {
            "class_type": "KSampler",
            "inputs": {"seed": 1, "steps": 2, "model": ["2", 0], "positive": ["3", 0], "negative": ["3", 0]},
        },
        "2": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.ckpt"}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"text": ["2", 1]}},
    }
)
LINE = 'a\nNegative prompt: b\nSteps: 1, Seed: 2, Lora hashes: "x: y", Size: 1x2, Hashes: {"a": "b"}'


def encoded(name: str, **options: object) -> bytes:
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x010E] = LINE
    Image.new("RGB", (16, 16)).save(out, name, exif=exif.tobytes(), **options)
    return out.getvalue()


SAMPLES = {
    "png": png(text("parameters", LINE), itxt("prompt", GRAPH), after=[ztxt("workflow", b'{"nodes": [{"id": 1}]}')]),
    "jpeg": jpeg(user_comment(b"UNICODE\0" + LINE.encode("utf-16-be"))),
    "webp": webp(tiff({0x0110: b"prompt:" + GRAPH.encode() + b"\0"})),
    "avif": encoded("AVIF", xmp=b"<x:xmpmeta/>"),
    "tiff": encoded("TIFF"),
    "gif": encoded("GIF", comment=LINE.encode()),
    "bmp": encoded("BMP"),
    "mp4": mp4(comment(GRAPH), tags({"prompt": GRAPH, "workflow": "{}"})),
    "webm": webm({"PROMPT": GRAPH, "COMMENT": LINE}),
}


def survives(data: bytes) -> None:
    try:
        found = facts(data)
    except UnreadableImage as error:
        assert str(error)
        assert "failed" not in str(error), "an exception that the container reader did not foresee"
    else:
        assert found.width > 0
        assert "failed" not in (found.metadata.problem or "")


@pytest.mark.parametrize("name", SAMPLES)
def test_cut_anywhere(name: str) -> None:
    data = SAMPLES[name]
    for length in range(0, len(data), max(1, len(data) // 150)):
        survives(data[:length])


@pytest.mark.parametrize("name", SAMPLES)
def test_scrambled_anywhere(name: str) -> None:
    dice = random.Random(name)
    for _ in range(300):
        data = bytearray(SAMPLES[name])
        for _ in range(dice.randint(1, 12)):
            data[dice.randrange(len(data))] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
        if dice.random() < 0.3:
            place = dice.randrange(len(data))
            data[place:place] = dice.randbytes(dice.randint(1, 40))
        survives(bytes(data))


def mutated(value: object, dice: random.Random) -> object:
    """The same JSON with some of its values replaced by ones of other types."""
    if dice.random() < 0.08:
        return dice.choice([None, True, -1, 1e308, "", "x", [], {}, ["1", 0], ["1", "0"], [[]], {"a": None}, 10**30])
    if isinstance(value, dict):
        return {key: mutated(inner, dice) for key, inner in value.items()}
    if isinstance(value, list):
        return [mutated(inner, dice) for inner in value]
    return value


SHAPES = {
    "png:prompt": json.loads(GRAPH),
    "png:parameters": {
        "sui_image_params": {"prompt": "a", "loras": ["x"], "loraweights": ["1"]},
        "sui_models": [{"name": "x", "hash": "y"}],
    },
    "png:invokeai_metadata": {
        "positive_prompt": "a",
        "model": {"name": "x"},
        "loras": [{"model": {"name": "x"}, "weight": 1}],
        "controlnets": [{"control_model": {}}],
    },
    "png:sd-metadata": {"image": {"prompt": [{"prompt": "a [b]"}], "seed": 1}},
    "png:Comment": {
        "prompt": "a",
        "uc": "b",
        "v4_prompt": {"caption": {"char_captions": [{"char_caption": "x", "centers": [{"x": 1}]}]}},
        "noise_schedule": "k",
    },
    "exif:UserComment": {
        "base_model": "x",
        "prompt": "a",
        "loras": [["x", 1, "h"]],
        "resolution": "(1, 2)",
        "lora_combined_1": "x : 1",
    },
    "png:generation_data": {
        "prompt": "a",
        "baseModel": {"modelFileName": "x"},
        "models": [{"type": "LORA", "label": "x"}],
    },
    "png:parameters-json": {"PositivePrompt": "a", "Seed": 1},
    "png:workflow": {
        "nodes": [
            {
                "id": 1,
                "type": "KSampler",
                "widgets_values": [1, "fixed", 2, 3, "e", "n", 1],
                "inputs": [{"name": "model", "link": 1}],
            },
            {"id": 2, "type": "CheckpointLoaderSimple", "widgets_values": ["x"], "outputs": [{"type": "MODEL"}]},
            {"id": 3, "type": "sub", "inputs": [{"name": "x", "type": "MODEL"}]},
        ],
        "links": [[1, 2, 0, 1, 0, "MODEL"]],
        "definitions": {
            "subgraphs": [
                {
                    "id": "sub",
                    "nodes": [{"id": 1, "type": "sub"}],
                    "links": [{"origin_id": -10, "origin_slot": 0, "target_id": 1, "target_slot": 0}],
                }
            ]
        },
    },
}


@pytest.mark.parametrize("key", SHAPES)
def test_json_of_the_wrong_shape(key: str) -> None:
    dice = random.Random(key)
    for _ in range(250):
        found = parse_metadata([RawChunk(key, "utf-8", json.dumps(mutated(SHAPES[key], dice)))])
        assert found.problem is None, found.problem


def test_infotexts_of_random_pieces() -> None:
    dice = random.Random(5)
    pieces = [
        "Steps: 5",
        ", ",
        ": ",
        '"',
        "{",
        "}",
        "[",
        "]",
        "\\",
        "\n",
        "Negative prompt: ",
        "Seed: 1",
        "Hashes: ",
        "<lora:a:",
        ">",
        "Template: ",
        "x",
        " ",
        "\0",
        "é",
    ]
    for _ in range(2000):
        found = parse_metadata(
            [RawChunk("png:parameters", "utf-8", "".join(dice.choices(pieces, k=dice.randint(1, 40))))]
        )
        assert found.problem is None


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "body",
    [
        "\n" * 2_000_000,
        "," * 2_000_000,
        ",a" * 1_000_000,
        ", Key: " * 300_000,
        'A: "' * 300_000,
        "A: {" * 300_000,
        "<lora:" * 400_000,
        "Negative prompt:\n" * 200_000,
        "Steps: 1\n" * 200_000,
        "[" * 2_000_000,
        "a" * 4_000_000,
    ],
    ids=lambda body: repr(body[:8]),
)
def test_texts_that_backtracking_would_choke_on(body: str) -> None:
    for whole in (body, f"a\nSteps: 1, Seed: 2, {body}", f"{body}\nSteps: 1, Seed: 2"):
        chunks = [RawChunk("png:parameters", "utf-8", whole), RawChunk("png:Description", "utf-8", whole)]
        assert "failed" not in (parse_metadata(chunks).problem or "")
    assert len(infotext.parse_settings(body)) <= infotext.SETTINGS_MAX
    assert parse_metadata([RawChunk("xmp", "utf-8", "<a:DigitalSourceType " * 50_000 + body)]).problem is None
    assert parse_metadata([RawChunk("png:Dream", "utf-8", f'"{body}" -s 1')]).problem is None
    prompt = parse_metadata([RawChunk("png:Dream", "utf-8", f'"{body}" -s 1')]).prompt
    assert len(prompt or "") <= coerce.TEXT_MAX


@pytest.mark.timeout(60)
def test_a_file_of_nothing_but_chunk_headers() -> None:
    empty = chunk(b"tEXt", b"") * 200_000
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    survives(SIGNATURE + head + empty + chunk(b"IDAT", zlib.compress(b"\0\0")))


def test_lengths_that_lie() -> None:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    for length in (0xFFFFFFFF, 0x7FFFFFFF, 1 << 24):
        survives(SIGNATURE + head + struct.pack(">I", length) + b"tEXtparameters\0x")
        survives(b"RIFF\xff\xff\xff\xffWEBPEXIF" + struct.pack("<I", length) + b"MM")
    survives(b"\0\0\0\x10ftypavif\0\0\0\0" + struct.pack(">I", 1) + b"meta" + struct.pack(">Q", 1 << 62))


def test_a_bug_in_a_container_reader_costs_one_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_source: object) -> object:
        raise ZeroDivisionError

    monkeypatch.setattr(reading, "read_container", broken)
    with pytest.raises(UnreadableImage, match="ZeroDivisionError"):
        facts(png())
