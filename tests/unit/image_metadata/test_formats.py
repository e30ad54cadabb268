"""Every other generator's format, as FORMATS describes it, one file each."""

from __future__ import annotations

import json
from typing import Any

import pytest

from indexd.image_metadata.model import CharacterPrompt, ControlUse, ImageMetadata, MetadataLora, RawChunk
from indexd.image_metadata.parser import parse_metadata


def read(**texts: Any) -> ImageMetadata:
    """The metadata of texts by key; `__` stands for `:`, values that are no text become JSON."""
    return parse_metadata(
        [
            RawChunk(key.replace("__", ":"), "utf-8", value if isinstance(value, str) else json.dumps(value))
            for key, value in texts.items()
        ]
    )


def seven(metadata: ImageMetadata) -> tuple[Any, ...]:
    return (
        metadata.prompt,
        metadata.negative_prompt,
        metadata.seed,
        metadata.steps,
        metadata.cfg,
        metadata.sampler,
        metadata.model_name,
    )


ANSWERS = ("a duck", "a goose", "18446744073709551615", 20, 6.5, "euler", "some")
SEED = 18446744073709551615


SWARM = {
    "sui_image_params": {
        "prompt": "a duck",
        "negativeprompt": "a goose",
        "seed": SEED,
        "steps": 20,
        "cfgscale": 6.5,
        "sampler": "euler",
        "model": "dir/some.safetensors",
        "loras": ["dir/x"],
        "loraweights": ["-0.5"],
        "width": 512,
        "height": 512,
        "controlnetmodel": "pose",
        "controlnetstrength": 0.7,
        "swarm_version": "0.9",
        "aspectratio": "1:1",
    },
    "sui_extra_data": {"original_prompt": "a <random:duck,goose>"},
    "sui_models": [{"name": "dir/some.safetensors", "param": "model", "hash": "0xab"}],
}


@pytest.mark.parametrize("key", ["png__parameters", "exif__UserComment", "exif__Model", "sidecar__json"])
def test_swarmui(key: str) -> None:
    metadata = read(**{key: SWARM})
    assert seven(metadata) == ANSWERS
    assert (metadata.generator, metadata.model_hash, metadata.raw_prompt) == (
        "swarmui",
        "0xab",
        "a <random:duck,goose>",
    )
    assert metadata.loras == (MetadataLora("x", -0.5),)
    assert metadata.controls == (ControlUse("pose", weight=0.7),)
    assert ("aspectratio", "1:1") in metadata.extras


def test_stability_matrix_is_preferred_to_what_stands_beside_it() -> None:
    given = {
        "PositivePrompt": "a duck\r\n",
        "NegativePrompt": "a goose",
        "Seed": SEED,
        "Steps": 20,
        "CfgScale": 6.5,
        "Sampler": "euler",
        "ModelName": "some.safetensors",
        "ModelHash": "AB",
    }
    metadata = read(**{"png__parameters-json": given, "png__parameters": "x\nSteps: 1, Seed: 1"})
    assert seven(metadata) == ANSWERS
    assert metadata.generator == "stability-matrix"


GRAPH = {
    "1": {
        "class_type": "KSampler",
        "inputs": {
            "seed": SEED,
            "steps": 20,
            "cfg": 6.5,
            "sampler_name": "euler",
            "scheduler": "beta",
            "model": ["2", 0],
            "positive": ["3", 0],
            "negative": ["3", 0],
        },
    },
    "2": {"class_type": "ECHOCheckpointLoaderSimple", "inputs": {"ckpt_name": "EMS-1-EMS.safetensors"}},
    "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "other"}},
}


def test_tensor_art_takes_the_true_seed_from_the_graph() -> None:
    given = {
        "prompt": "a duck",
        "negativePrompt": "a goose",
        "seed": "-1",
        "steps": 20,
        "baseModel": {"modelFileName": "some.safetensors", "hash": "h"},
        "models": [{"type": "LORA", "label": "x", "weight": 0.4}],
    }
    metadata = read(png__generation_data=json.dumps(given) + "\0\0", png__prompt=GRAPH)
    assert seven(metadata) == ANSWERS
    assert (metadata.generator, metadata.schedule, metadata.loras) == ("tensor.art", "beta", (MetadataLora("x", 0.4),))
    converted = read(exif__UserComment={"generation_data": json.dumps(given), "prompt": GRAPH})
    assert seven(converted) == ANSWERS


def test_invokeai_of_three_generations() -> None:
    newest = {
        "positive_prompt": "a duck",
        "negative_prompt": "a goose",
        "seed": SEED,
        "steps": 20,
        "cfg_scale": 6.5,
        "scheduler": "euler",
        "model": {"name": "some", "hash": "blake3:a"},
        "loras": [{"model": {"name": "x"}, "weight": 0.5}],
        "app_version": "6.1",
    }
    metadata = read(png__invokeai_metadata=newest)
    assert (seven(metadata), metadata.model_hash, metadata.loras) == (ANSWERS, "blake3:a", (MetadataLora("x", 0.5),))
    third = {**newest, "model": {"model_name": "some"}, "loras": [{"lora": {"model_name": "x"}, "weight": 1}]}
    assert read(png__invokeai_metadata=third).model_name == "some"
    second = {
        "model_weights": "some",
        "app_version": "2.3",
        "image": {
            "prompt": [{"prompt": "a duck [a goose]", "weight": 1}],
            "seed": SEED,
            "steps": 20,
            "cfg_scale": 6.5,
            "sampler": "euler",
        },
    }
    assert seven(read(**{"png__sd-metadata": second})) == ANSWERS
    first = read(png__Dream=f'"a duck [a goose]" -s 20 -S {SEED} -W 512 -H 768 -C 6.5 -A euler')
    assert seven(first) == (*ANSWERS[:6], None)
    assert (first.gen_width, first.gen_height) == (512, 768)
    assert read(png__Dream="no quotes -s 20").is_ai is None


NAI = {
    "prompt": "a duck",
    "uc": "a goose",
    "seed": SEED,
    "steps": 20,
    "scale": 6.5,
    "sampler": "euler",
    "noise_schedule": "karras",
    "v4_prompt": {
        "caption": {
            "base_caption": "a duck",
            "char_captions": [{"char_caption": "a girl", "centers": [{"x": 0.1, "y": 0.5}]}],
        }
    },
}


def test_novelai_in_chunks_in_exif_and_hidden() -> None:
    chunks = read(png__Comment=NAI, png__Source="some", png__Software="NovelAI")
    assert (seven(chunks), chunks.schedule, chunks.generator) == (ANSWERS, "karras", "novelai")
    assert chunks.characters == (CharacterPrompt("a girl", None, 0.1, 0.5),)
    webp = read(exif__UserComment={"Comment": json.dumps(NAI)}, exif__Software="some")
    assert seven(webp) == ANSWERS
    hidden = read(
        stealth__parameters={"Comment": json.dumps(NAI), "Source": "some", "Software": "NovelAI", "Description": "x"}
    )
    assert seven(hidden) == ANSWERS


def test_old_novelai_has_its_prompt_in_the_description() -> None:
    old = {"steps": 28, "sampler": "k_euler", "seed": 1, "scale": 11.0, "uc": "a goose"}
    metadata = read(
        png__Comment=old, png__Description="a duck", png__Source="Stable Diffusion 1D44365E", png__Software="NovelAI"
    )
    assert seven(metadata) == ("a duck", "a goose", "1", 28, 11.0, "k_euler", "Stable Diffusion 1D44365E")


FOOOCUS = {
    "prompt": "a duck",
    "full_prompt": ["a duck", "cinematic"],
    "negative_prompt": "a goose",
    "seed": str(SEED),
    "steps": 20,
    "guidance_scale": 6.5,
    "sampler": "euler",
    "scheduler": "karras",
    "base_model": "some",
    "base_model_hash": "ab",
    "resolution": "(1152, 896)",
    "loras": [["x", 0.1, "h"]],
    "version": "Fooocus v2.5.5",
}


@pytest.mark.parametrize("key", ["png__parameters", "exif__UserComment"])
def test_fooocus(key: str) -> None:
    metadata = read(**{key: FOOOCUS})
    assert seven(metadata) == ("a duck, cinematic", *ANSWERS[1:])
    assert (metadata.generator, metadata.raw_prompt) == ("fooocus", "a duck")
    assert (metadata.gen_width, metadata.gen_height, metadata.schedule) == (1152, 896, "karras")
    assert metadata.loras == (MetadataLora("x", 0.1, None, "h"),)


def test_forks_of_fooocus() -> None:
    ruined = {
        "Prompt": "a duck",
        "Negative": "a goose",
        "steps": 20,
        "cfg": 6.5,
        "width": 64,
        "height": 32,
        "seed": SEED,
        "sampler_name": "euler",
        "base_model_name": "some.safetensors",
        "loras": [["hash", "0.4 - x.safetensors"]],
        "software": "RuinedFooocus",
    }
    metadata = read(png__parameters=ruined)
    assert (seven(metadata), metadata.generator, metadata.loras) == (
        ANSWERS,
        "ruinedfooocus",
        (MetadataLora("x", 0.4, None, "hash"),),
    )
    plus = {
        "Prompt": "a duck",
        "Negative Prompt": "a goose",
        "Steps": 20,
        "Guidance Scale": 6.5,
        "Seed": str(SEED),
        "Sampler": "euler",
        "Base Model": "some",
        "Resolution": "(64, 32)",
        "LoRA 1": "x.safetensors : 0.5",
        "Version": "FooocusPlus 1",
    }
    metadata = read(png__Comment=plus)
    assert (seven(metadata), metadata.generator, metadata.loras) == (ANSWERS, "fooocusplus", (MetadataLora("x", 0.5),))
    mre = {
        "real_prompt": ["a duck"],
        "prompt": "a duck",
        "negative_prompt": "a goose",
        "steps": 20,
        "cfg": 6.5,
        "seed": SEED,
        "sampler_name": "euler",
        "base_model": "some.safetensors",
        "software": "Fooocus-MRE",
    }
    assert seven(read(png__Comment=mre)) == ANSWERS


EASY = {
    "prompt": "a duck",
    "negative_prompt": "a goose",
    "seed": str(SEED),
    "num_inference_steps": "20",
    "guidance_scale": "6.5",
    "sampler_name": "euler",
    "use_stable_diffusion_model": "C:\\models\\some.ckpt",
    "width": "64",
}


def test_easy_diffusion() -> None:
    chunks = read(**{f"png__{key}": value for key, value in EASY.items()})
    assert (seven(chunks), chunks.generator) == (ANSWERS, "easy-diffusion")
    assert seven(read(exif__UserComment=EASY)) == ANSWERS
    titles = {
        "Prompt": "a duck",
        "Negative Prompt": "a goose",
        "Seed": str(SEED),
        "Steps": "20",
        "Guidance Scale": "6.5",
        "Sampler": "euler",
        "Stable Diffusion model": "some",
    }
    assert seven(read(sidecar__json=titles)) == ANSWERS
    assert seven(read(sidecar__txt="\n".join(f"{key}: {value}" for key, value in titles.items()))) == ANSWERS
    assert read(png__prompt="a duck").is_ai is None


def test_spaces_on_hugging_face() -> None:
    given = {
        "prompt": "a duck",
        "negative_prompt": "a goose",
        "resolution": "1024 x 512",
        "guidance_scale": 6.5,
        "num_inference_steps": 20,
        "seed": SEED,
        "sampler": "euler",
        "Model": "some",
    }
    metadata = read(png__parameters=given)
    assert (seven(metadata), metadata.generator, metadata.gen_height) == (ANSWERS, "hf-space", 512)


def test_draw_things() -> None:
    given = {
        "c": "a duck",
        "uc": "a goose",
        "seed": SEED,
        "steps": 20,
        "scale": 6.5,
        "sampler": "euler",
        "model": "some.ckpt",
        "size": "64x32",
    }
    escaped = json.dumps(given).replace("&", "&amp;").replace('"', "&quot;")
    packet = f'<x:xmpmeta><rdf:Description xmp:CreatorTool="Draw Things"><exif:UserComment><rdf:Alt><rdf:li xml:lang="x-default">{escaped}</rdf:li></rdf:Alt></exif:UserComment></rdf:Description></x:xmpmeta>'
    metadata = read(xmp=packet)
    assert (seven(metadata), metadata.generator, metadata.generator_version) == (ANSWERS, "draw-things", "Draw Things")


def test_midjourney() -> None:
    metadata = read(
        png__Description="a red-brown duck --ar 3:2 --no geese --v 6.1 --seed 7 Job ID: 12345678-1234-1234-1234-123456789abc",
        png__Author="somebody",
    )
    assert (metadata.prompt, metadata.negative_prompt, metadata.seed) == ("a red-brown duck", "geese", "7")
    assert (metadata.generator, metadata.generator_version) == ("midjourney", "v 6.1")
    assert ("--ar", "3:2") in metadata.extras
    assert read(png__Description="a photo of a duck -- my holidays", png__Author="me").is_ai is None


IPTC = '<rdf:Description xmlns:Iptc4xmpExt="x" {}></rdf:Description>'


@pytest.mark.parametrize(
    ("packet", "is_ai"),
    [
        ('<rdf:Description Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/x/trainedAlgorithmicMedia"/>', "iptc"),
        (
            "<Iptc4xmpExt:DigitalSourceType>http://cv.iptc.org/x/trainedAlgorithmicMedia</Iptc4xmpExt:DigitalSourceType>",
            "iptc",
        ),
        (
            '<Iptc4xmpExt:DigitalSourceType rdf:resource="http://cv.iptc.org/x/compositeWithTrainedAlgorithmicMedia"/>',
            "iptc",
        ),
        ("<Iptc4xmpExt:DigitalSourceType>http://cv.iptc.org/x/digitalCapture</Iptc4xmpExt:DigitalSourceType>", None),
        ("<x:xmpmeta/>", None),
        ("<Iptc4xmpExt:DigitalSourceType", None),
    ],
)
def test_iptc_says_made_by_a_model(packet: str, is_ai: str | None) -> None:
    assert read(xmp=packet).is_ai == is_ai


def test_iptc_2025_names_system_and_prompt() -> None:
    packet = (
        "<a:AISystemUsed>Gemini</a:AISystemUsed><a:AIPromptInformation><rdf:li>a duck</rdf:li></a:AIPromptInformation>"
    )
    metadata = read(xmp=packet)
    assert (metadata.generator, metadata.prompt, metadata.is_ai) == ("gemini", "a duck", "iptc")


@pytest.mark.parametrize(
    "texts",
    [
        {"jpeg__comment": "GIMPで再保存しただけ"},
        {"png__Comment": "Created with GIMP"},
        {"png__Comment": {"camera": "x", "seed": 3}},
        {"exif__UserComment": {"device": "phone", "prompt": "none"}},
        {"png__Software": "NovelAI"},
        {"png__parameters": {"a": [1, 2]}},
        {"png__parameters": "[1, 2]"},
        {"png__prompt": "[1]"},
        {"png__invokeai_metadata": "{broken"},
        {"sidecar__txt": "1girl, solo, a caption for training"},
        {"png__Description": "Steps: we took", "png__Title": "x"},
    ],
)
def test_nothing_is_claimed_where_nothing_is_stated(texts: dict[str, Any]) -> None:
    metadata = read(**texts)
    assert (metadata.is_ai, metadata.generator, metadata.prompt, metadata.problem) == (None, None, None, None)
