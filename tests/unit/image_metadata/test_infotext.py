"""A1111's infotext: where it splits, what its settings are, and which program wrote it."""

from __future__ import annotations

import json

import pytest

from indexd.image_metadata import infotext
from indexd.image_metadata.model import ControlUse, ImageMetadata, MetadataLora, RawChunk
from indexd.image_metadata.parser import parse_metadata

LINE = "Steps: 20, Sampler: Euler a, Schedule type: Karras, CFG scale: 7, Seed: 5, Size: 512x768, Model: some"


def read(text: str, key: str = "png:parameters") -> ImageMetadata:
    return parse_metadata([RawChunk(key, "utf-8", text)])


def test_the_three_parts() -> None:
    metadata = read(
        f"a duck\non a pond\nNegative prompt: a goose,\na swan\n{LINE}, Model hash: abc, Clip skip: 2, Version: v1.10.1"
    )
    assert (metadata.prompt, metadata.negative_prompt) == ("a duck\non a pond", "a goose,\na swan")
    assert (metadata.seed, metadata.steps, metadata.cfg) == ("5", 20, 7.0)
    assert (metadata.sampler, metadata.schedule, metadata.clip_skip) == ("Euler a", "Karras", 2)
    assert (metadata.model_name, metadata.model_hash) == ("some", "abc")
    assert (metadata.gen_width, metadata.gen_height) == (512, 768)
    assert (metadata.generator, metadata.generator_version, metadata.is_ai) == ("a1111", "v1.10.1", "metadata")
    assert metadata.source == "png:parameters"


@pytest.mark.parametrize(
    ("text", "prompt", "negative"),
    [
        (f"a duck\n{LINE}", "a duck", None),
        (LINE, "", None),
        (f"Negative prompt: x\n{LINE}", "", "x"),
        (f"\n\na\n\nNegative prompt: b\n\n{LINE}\n", "a", "b"),
        (
            f"Steps: to heaven\nSteps: 3, and more\nNegative prompt: b\n{LINE}",
            "Steps: to heaven\nSteps: 3, and more",
            "b",
        ),
        (f"say Negative prompt: loudly\nNegative prompt: b\n{LINE}", "say Negative prompt: loudly", "b"),
        (f"a BREAK b\r\nNegative prompt: c\r\nd\r\n{LINE}", "a BREAK b", "c\nd"),
    ],
)
def test_it_is_split_from_its_end(text: str, prompt: str, negative: str | None) -> None:
    metadata = read(text)
    assert (metadata.prompt, metadata.negative_prompt, metadata.seed) == (prompt, negative, "5")


def test_the_word_negative_may_be_written_small() -> None:
    parts = infotext.split_infotext("a dog\nnegative prompt: ugly\nSteps: 20, Seed: 3")
    assert parts is not None
    assert (parts.prompt, parts.negative_prompt) == ("a dog", "ugly")


def test_the_settings_line_may_begin_with_another_key() -> None:
    metadata = read("a duck\nSeed: 5, Sampler: DDIM, CFG scale: 4, Size: 64x64")
    assert (metadata.prompt, metadata.seed, metadata.cfg) == ("a duck", "5", 4.0)


@pytest.mark.parametrize("text", ["a duck", "just words: with, colons: inside", "Sampler: only", "GIMP", "{}", ""])
def test_other_texts_are_no_infotext(text: str) -> None:
    assert infotext.split_infotext(text) is None
    assert read(text, "exif:UserComment").is_ai is None


def test_quoted_and_json_values() -> None:
    found = infotext.parse_settings(
        'Steps: 20, ControlNet 0: "Module: openpose, Model: control [cab], Weight: 0.5, Guidance Start: 0.1, Guidance End: 0.9", '
        'Hires prompt: "a cat, 4k, Steps: x", Lora hashes: "foo: a, bar: b", Hashes: {"model": "c, d", "lora:x": "e"}, '
        'Civitai resources: [{"a": 1}, {"b": [2]}], Eta: inf, Model: , Unet: dir/file name.gguf, ADM Guidance: "(1.5, 0.8, 0.3)"'
    )
    assert found["Steps"] == "20"
    assert found["ControlNet 0"].startswith("Module: openpose, Model: control [cab]")
    assert found["Hires prompt"] == "a cat, 4k, Steps: x"
    assert found["Lora hashes"] == "foo: a, bar: b"
    assert json.loads(found["Hashes"])["lora:x"] == "e"
    assert json.loads(found["Civitai resources"])[1] == {"b": [2]}
    assert (found["Eta"], found["Model"], found["Unet"]) == ("inf", "", "dir/file name.gguf")
    assert found["ADM Guidance"] == "(1.5, 0.8, 0.3)"


def test_values_may_hold_commas_and_broken_quotes() -> None:
    found = infotext.parse_settings('Steps: 1, Odd: a, b and c, Open: "never closed, Seed: 7, Token: x:y')
    assert found == {"Steps": "1", "Odd": "a, b and c", "Open": '"never closed', "Seed": "7", "Token": "x:y"}


def test_the_first_of_a_key_counts_and_prefixed_keys_are_others() -> None:
    metadata = read(
        "a\nSteps: 5, ADetailer denoising strength: 0.4, Seed: 1, Seed: 2, Hires steps: 9, Denoising strength: 0.7"
    )
    assert (metadata.steps, metadata.seed, metadata.denoise) == (5, "1", 0.7)
    assert ("ADetailer denoising strength", "0.4") in metadata.extras


def test_a_controlnet_does_not_take_the_models_place() -> None:
    metadata = read(
        f'a\n{LINE}, ControlNet 0: "Module: openpose, Model: control, Weight: 0.5, Guidance Start: 0.1, Guidance End: 0.9"'
    )
    assert metadata.model_name == "some"
    assert metadata.controls == (ControlUse("control", "openpose", 0.5, 0.1, 0.9),)


def test_template_lines_after_the_settings() -> None:
    metadata = read(f"a red duck\nNegative prompt: b\n{LINE}\nTemplate: a {{red|blue}} duck\nNegative Template: b")
    assert (metadata.prompt, metadata.raw_prompt, metadata.model_name) == ("a red duck", "a {red|blue} duck", "some")


def test_loras_with_one_weight_or_two() -> None:
    metadata = read(
        f'a <lora:first:0.8> <lora:second:1:0.5> <lyco:third:te=0.2:unet=0.4>\n{LINE}, Lora hashes: "first: aa, other: bb"'
    )
    assert metadata.loras == (
        MetadataLora("first", 0.8, None, "aa"),
        MetadataLora("second", 0.5, 1.0),
        MetadataLora("third", 0.4, 0.2),
        MetadataLora("other", None, None, "bb"),
    )


def test_hires_is_a_second_pass() -> None:
    metadata = read(f"a\n{LINE}, Denoising strength: 0.3, Hires upscale: 2, Hires steps: 10")
    first, second = metadata.passes
    assert (first.denoise, second.denoise, second.steps, second.seed) == (None, 0.3, 10, "5")


@pytest.mark.parametrize(
    ("settings", "generator"),
    [
        ("Version: v1.9.4", "a1111"),
        ("Version: f2.0.1v1.10.1-previous-633", "forge"),
        ("Version: classic", "forge"),
        ("Version: neo", "forge"),
        ("Version: f1.0.0v2-v1.10.1RC-latest-2498-g5120e679", "reforge"),
        ("App: SD.Next, Version: 56a8aea", "sd.next"),
        ("Version: ComfyUI", "comfyui"),
        ("Version: stable-diffusion.cpp", "sd.cpp"),
        ("Version: Fooocus v2.5.5", "fooocus"),
        ('Civitai resources: [{"type": "checkpoint", "modelName": "Theirs"}], Civitai metadata: {}', "civitai"),
        ("Nothing: said", "a1111"),
    ],
)
def test_who_wrote_it(settings: str, generator: str) -> None:
    assert read(f"a\nSteps: 5, Seed: 1, {settings}").generator == generator


def test_models_that_stand_elsewhere() -> None:
    assert (
        read("a\nSteps: 5, Seed: 1, Model: , Unet: Krea-2.gguf, Version: stable-diffusion.cpp").model_name == "Krea-2"
    )
    civitai = read(
        'a\nSteps: 5, Seed: 1, Civitai resources: [{"type":"lora","weight":0.5,"modelName":"L"},{"type":"checkpoint","modelName":"C"}]'
    )
    assert (civitai.model_name, civitai.loras) == ("C", (MetadataLora("L", 0.5),))


def test_fooocus_infotext_gives_the_prompt_of_the_model_and_the_typed_one_beside_it() -> None:
    metadata = read(
        "a duck, cinematic, sharp\nNegative prompt: unrealistic, goose\nSteps: 30, Sampler: DPM++ 2M SDE Karras, Seed: 9007199254740993, "
        'Size: 1152x896, CFG scale: 4, Scheduler: karras, Raw prompt: a duck, Raw negative prompt: "goose, swan", '
        'Lora weights: "one: 0.1", Lora hashes: "one: ab", ADM Guidance: "(1.5, 0.8, 0.3)", Version: Fooocus v2.5.5'
    )
    assert (metadata.prompt, metadata.negative_prompt, metadata.generator) == (
        "a duck, cinematic, sharp",
        "unrealistic, goose",
        "fooocus",
    )
    assert (metadata.raw_prompt, dict(metadata.extras)["raw negative prompt"]) == ("a duck", "goose, swan")
    assert (metadata.seed, metadata.schedule) == ("9007199254740993", "karras")
    assert metadata.loras == (MetadataLora("one", 0.1, None, "ab"),)


@pytest.mark.parametrize(
    "key", ["exif:UserComment", "jpeg:comment", "exif:ImageDescription", "stealth:parameters", "sidecar:txt"]
)
def test_it_is_found_wherever_programs_put_it(key: str) -> None:
    metadata = read(f"a\n{LINE}", key)
    assert (metadata.prompt, metadata.source) == ("a", key)


def test_placeholders_of_a_saver_give_way_to_the_graph() -> None:
    graph = {
        "1": {
            "class_type": "KSampler",
            "inputs": {"seed": 7, "steps": 4, "model": ["2", 0], "positive": ["3", 0], "negative": ["3", 0]},
        },
        "2": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "true.safetensors"}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "the truth"}},
    }
    chunks = [
        RawChunk("png:parameters", "utf-8", f"unknown\nNegative prompt: unknown\n{LINE}"),
        RawChunk("png:prompt", "utf-8", json.dumps(graph)),
    ]
    metadata = parse_metadata(chunks)
    assert (metadata.prompt, metadata.seed, metadata.model_name) == ("the truth", "7", "true")
    assert parse_metadata(chunks[:1]).prompt == "unknown"
