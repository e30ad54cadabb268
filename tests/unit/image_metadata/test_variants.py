"""Variants that real programs write and the corpus happens not to show: other cases, places, encodings and lists."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from PIL import Image

from indexd.image_metadata.model import (
    CharacterPrompt,
    ControlUse,
    DetailerUse,
    EmbeddingUse,
    ImageMetadata,
    MetadataLora,
    RawChunk,
    ResourceUse,
)
from indexd.image_metadata.parser import parse_metadata
from indexd_schemas.jobs.stages import DetailRecipe, HiresRecipe, UpscaleRecipe
from indexd_schemas.recipe import EmbeddingRef, Recipe, RecipeVariation
from indexd_schemas.recipe_part import ModelRef
from tests.unit.image_metadata.writers import chunk, facts, itxt, jpeg, png, text, user_comment, webp, ztxt

LINE = "Steps: 20, Sampler: Euler a, Schedule type: Karras, CFG scale: 7, Seed: 5, Size: 512x768, Model: some"


def read(given: str | dict[str, Any], key: str = "png:parameters") -> ImageMetadata:
    return parse_metadata([RawChunk(key, "utf-8", given if isinstance(given, str) else json.dumps(given))])


def test_what_looks_like_settings_around_the_settings() -> None:
    found = read(
        f'"quoted", a: b, {{x}} [y]\nSteps: 5, Sampler: fake, Seed: 9\nNegative prompt: "bad", Steps: many\nmore\n{LINE}\n'
        "Template: a {x|y}\nSteps: 3 times\nNegative Template: n\nSteps: 4"
    )
    assert found.prompt == '"quoted", a: b, {x} [y]\nSteps: 5, Sampler: fake, Seed: 9'
    assert found.negative_prompt == '"bad", Steps: many\nmore'
    assert (found.seed, found.steps, found.raw_prompt) == ("5", 20, "a {x|y}\nSteps: 3 times")


def test_everything_around_the_first_pass() -> None:
    found = read(
        f"a\n{LINE}, Denoising strength: 0.4, Hires Module 1: Use same choices, Hires CFG Scale: 5, Hires upscale: 1.5, "
        'Hires steps: 10, Hires upscaler: 4x-Ultra, Hires prompt: "x, y", Hires sampler: Use same sampler, '
        "Hires checkpoint: other [0123456789], Variation seed: 18446744073709551615, Variation seed strength: 0.2, "
        "Refiner: sd_xl_refiner_1.0 [7440042bbd], Refiner switch at: 0.8, Distilled CFG Scale: 3.5, "
        'TI hashes: "EasyNegative: c74b, bad-hands: 12", Hashes: {"embed:EasyNegative": "c7", "embed:more": "9e"}, '
        "Postprocess upscaler: R-ESRGAN 4x+, Clip skip: 2, VAE: v.safetensors"
    )
    assert (found.hires_scale, found.hires_steps, found.hires_upscaler, found.hires_denoise) == (
        1.5,
        10,
        "4x-Ultra",
        0.4,
    )
    assert (found.variation_seed, found.variation_strength) == ("18446744073709551615", 0.2)
    assert (found.refiner, found.guidance, found.upscaler) == ("sd_xl_refiner_1.0", 3.5, "R-ESRGAN 4x+")
    assert found.embeddings == (
        EmbeddingUse("EasyNegative", "c74b"),
        EmbeddingUse("bad-hands", "12"),
        EmbeddingUse("more", "9e"),
    )
    first, second = found.passes
    assert (second.sampler, second.cfg, second.model, second.denoise) == ("Euler a", 5.0, "other", 0.4)
    assert (first.model, found.clip_skip, found.vae) == ("some", 2, "v")
    assert ("Refiner switch at", "0.8") in found.extras
    assert "Hires upscaler" not in dict(found.extras)


def test_adetailer_with_several_units() -> None:
    found = read(
        f'a\n{LINE}, ADetailer model: face_yolov8n.pt, ADetailer prompt: "face, [SEP] b", ADetailer denoising strength: 0.4, '
        "ADetailer model 2nd: hand_yolov8n.pt, ADetailer negative prompt 2nd: six fingers, ADetailer version: 24.1"
    )
    assert found.detailers == (
        DetailerUse("face_yolov8n", "face, [SEP] b", None, 0.4),
        DetailerUse("hand_yolov8n", None, "six fingers"),
    )
    assert (found.extras, found.model_name) == ((("ADetailer version", "24.1"),), "some")


@pytest.mark.parametrize(
    "unit",
    [
        'ControlNet 0: "Module: mlsd, Model: c [aca30ff0], Weight: 0.8, Guidance Start: 0, Guidance End: 0.5"',
        'ControlNet 0: "preprocessor params: (512, 0.1), Module: mlsd, Model: c [aca30ff0], Weight: 0.8, Timestep Range: (0, 0.5)"',
        (
            "ControlNet 0 Enabled: True, ControlNet 0 Preprocessor: mlsd, ControlNet 0 Model: c [aca30ff0], ControlNet 0 Weight: 0.8, "
            "ControlNet 0 Starting Step: 0, ControlNet 0 Ending Step: 0.5"
        ),
        (
            "ControlNet-1 Enabled: True, ControlNet-1 Module: mlsd, ControlNet-1 Model: c [aca30ff0], ControlNet-1 Weight: 0.8, "
            "ControlNet-1 Guidance Start: 0, ControlNet-1 Guidance End: 0.5, ControlNet-0 Enabled: False, ControlNet-0 Model: no"
        ),
        (
            "ControlNet Enabled: True, ControlNet Module: mlsd, ControlNet Model: c [aca30ff0], ControlNet Weight: 0.8, "
            "ControlNet Guidance Start: 0, ControlNet Guidance End: 0.5"
        ),
    ],
    ids=["2023-07", "timestep range", "2023-05", "numbered", "single"],
)
def test_controlnet_as_each_of_its_versions_writes_it(unit: str) -> None:
    found = read(f"a\n{LINE}, {unit}")
    assert found.controls == (ControlUse("c", "mlsd", 0.8, 0.0, 0.5, "aca30ff0"),)
    assert found.model_name == "some"


def test_keys_in_another_case() -> None:
    found = read(
        "a cat\nNegative prompt: b\nSteps: 50, sampler: k_dpmpp_2s_a, Cfg Scale: 5, seed: 2830501020,Size: 768x512, model: sd"
    )
    assert (found.sampler, found.cfg, found.seed, found.gen_width, found.model_name) == (
        "k_dpmpp_2s_a",
        5.0,
        "2830501020",
        768,
        "sd",
    )
    assert facts(png(text("Parameters", f"a\n{LINE}"))).metadata.seed == "5"


def test_civitais_resources_are_kept_with_their_addresses() -> None:
    found = read(
        'a\nSteps: 25, Seed: 3, Civitai resources: [{"type":"checkpoint","modelVersionId":128078,"modelName":"XL","modelVersionName":"v1"},'
        '{"type":"lora","weight":0.6,"air":"urn:air:sdxl:lora:civitai:1@2","modelName":"L"},{"type":"embed","modelVersionId":5,"modelName":"E"},'
        '{"type":"x"},{"modelVersionId":true}], Civitai metadata: {}'
    )
    assert found.resources == (
        ResourceUse("128078", "checkpoint", "XL", "v1"),
        ResourceUse("urn:air:sdxl:lora:civitai:1@2", "lora", "L", None, 0.6),
        ResourceUse("5", "embed", "E"),
    )
    assert (found.embeddings, found.loras, found.model_name) == ((EmbeddingUse("E"),), (MetadataLora("L", 0.6),), "XL")


@pytest.mark.parametrize("kind", ["AVIF", "WEBP", "JPEG", "PNG"])
@pytest.mark.parametrize("order", ["le", "be"])
def test_an_infotext_in_exif_of_every_carrier(kind: str, order: str) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + f"日本 duck\n{LINE}".encode(f"utf-16-{order}")
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, kind, exif=exif.tobytes())
    found = facts(out.getvalue()).metadata
    assert (found.prompt, found.seed, found.source) == ("日本 duck", "5", "exif:UserComment")


@pytest.mark.parametrize("order", ["le", "be"])
def test_a_long_prompt_without_a_latin_letter_has_its_byte_order_told_by_its_end(order: str) -> None:
    comment = b"UNICODE\0" + ("日本語の猫" * 3000 + "\n" + LINE).encode(f"utf-16-{order}")
    for tiff_order in "<>":
        found = facts(jpeg(user_comment(comment, tiff_order))).metadata
        assert (found.seed, (found.prompt or "")[:5]) == ("5", "日本語の猫")


@pytest.mark.parametrize(
    "data",
    [
        png(chunk(b"iTXt", b"parameters\0\0\0en\0Parameter\0" + f"é\n{LINE}".encode())),
        png(itxt("parameters", f"é\n{LINE}", compressed=True)),
        png(after=[ztxt("parameters", f"é\n{LINE}".encode("latin-1"))]),
        png(text("parameters", f"é\n{LINE}".encode())),
        webp(user_comment(f"é\n{LINE}\0".encode())),
        jpeg(user_comment(b"ASCII\0\0\0" + f"é\n{LINE}".encode())),
    ],
    ids=[
        "iTXt with a language",
        "iTXt squeezed",
        "zTXt after the picture",
        "UTF-8 in tEXt",
        "no prefix",
        "ASCII prefix",
    ],
)
def test_an_infotext_in_every_dress(data: bytes) -> None:
    found = facts(data).metadata
    assert (found.prompt, found.seed, found.problem) == ("é", "5", None)


SWARM = {
    "sui_image_params": {
        "prompt": "a red duck",
        "original_prompt": "a <wildcard:colour> duck",
        "model": "m",
        "seed": 5,
        "steps": 3,
        "variationseed": 7,
        "variationseedstrength": 0.3,
        "fluxguidancescale": 3.5,
        "refinermodel": "r.safetensors",
        "refinerupscale": 1.5,
        "refinersteps": 9,
        "refinerupscalemethod": "pixel-lanczos",
        "refinercontrolpercentage": 0.2,
        "clipstopatlayer": -2,
    }
}


@pytest.mark.parametrize("key", ["stealth:parameters", "png:parameters"])
def test_swarmui_says_all_it_has_and_may_hide_it(key: str) -> None:
    found = read(SWARM, key)
    assert (found.generator, found.seed, found.raw_prompt) == ("swarmui", "5", "a <wildcard:colour> duck")
    assert (found.variation_seed, found.variation_strength, found.guidance, found.clip_skip) == ("7", 0.3, 3.5, 2)
    assert (found.refiner, found.hires_scale, found.hires_steps) == ("r", 1.5, 9)
    assert (found.hires_upscaler, found.hires_denoise) == ("pixel-lanczos", 0.2)


def test_novelai_gives_each_character_its_two_prompts_and_its_place() -> None:
    def caption(*texts: str) -> dict[str, Any]:
        captions = [{"char_caption": one, "centers": [{"x": 0.25, "y": 0.5}]} for one in texts]
        return {"caption": {"base_caption": "two people", "char_captions": captions}}

    found = parse_metadata(
        [
            RawChunk("png:Software", "utf-8", "NovelAI"),
            RawChunk(
                "png:Comment",
                "utf-8",
                json.dumps(
                    {
                        "uc": "bad",
                        "v4_prompt": caption("a girl", "a boy"),
                        "v4_negative_prompt": caption("hat", ""),
                        "seed": 1,
                    }
                ),
            ),
        ]
    )
    assert (found.prompt, found.negative_prompt) == ("two people", "bad")
    assert found.characters == (CharacterPrompt("a girl", "hat", 0.25, 0.5), CharacterPrompt("a boy", None, 0.25, 0.5))


def test_invokeai_before_spaces_stood_between_options() -> None:
    found = read(
        '"a duck [a goose]" -s50 -S18446744073709551615 -W512 -H768 -C7.5 -Ak_lms -V 7:0.2,8:0.1 -G0.8', "png:Dream"
    )
    assert (found.seed, found.steps, found.cfg, found.sampler) == ("18446744073709551615", 50, 7.5, "k_lms")
    assert (found.variation_seed, found.variation_strength, found.extras) == ("7", 0.2, (("-G", "0.8"),))


def test_invokeai_tells_of_its_refiner_and_its_second_pass() -> None:
    found = read(
        {
            "positive_prompt": "a",
            "refiner_model": {"name": "refine", "hash": "x"},
            "hrf_strength": 0.4,
            "hrf_method": "ESRGAN",
            "hrf_enabled": True,
        },
        "png:invokeai_metadata",
    )
    assert (found.refiner, found.hires_denoise, found.hires_upscaler) == ("refine", 0.4, "ESRGAN")


def _edge(source: str, field: str, target: str, into: str) -> dict[str, Any]:
    return {"source": {"node_id": source, "field": field}, "destination": {"node_id": target, "field": into}}


INVOKE: dict[str, dict[str, Any]] = {
    "n": {"type": "noise", "id": "n", "seed": 5, "width": 832, "height": 1216},
    "d": {"type": "denoise_latents", "id": "d", "steps": 30, "cfg_scale": 7.5, "scheduler": "euler"},
    "p": {"type": "compel", "id": "p", "prompt": "", "clip": None},
    "w": {"type": "string", "id": "w", "value": "a duck"},
    "q": {"type": "compel", "id": "q", "prompt": "a goose"},
    "l": {"type": "lora_loader", "id": "l", "lora": {"name": "x"}, "weight": -0.5},
    "m": {"type": "main_model_loader", "id": "m", "model": {"name": "some", "key": "k"}},
}
INVOKE_EDGES = [
    _edge("w", "value", "p", "prompt"),
    _edge("p", "conditioning", "d", "positive_conditioning"),
    _edge("q", "conditioning", "d", "negative_conditioning"),
    _edge("n", "noise", "d", "noise"),
    _edge("l", "unet", "d", "unet"),
    _edge("m", "unet", "l", "unet"),
]


def test_invokeais_graph_is_read_where_nothing_else_is_stated() -> None:
    graph = {"id": "g", "nodes": INVOKE, "edges": INVOKE_EDGES}
    workflow = {
        "name": "mine",
        "nodes": [
            {"id": key, "type": "invocation", "data": {"type": node["type"], "inputs": {name: {"value": value} for name, value in node.items()}}}
            for key, node in INVOKE.items()
        ],
        "edges": [
            {
                "source": edge["source"]["node_id"],
                "target": edge["destination"]["node_id"],
                "sourceHandle": edge["source"]["field"],
                "targetHandle": edge["destination"]["field"],
            }
            for edge in INVOKE_EDGES
        ],
    }  # fmt: skip
    for key, given in (("png:invokeai_graph", graph), ("png:invokeai_workflow", workflow)):
        found = read(given, key)
        assert (found.generator, found.source) == ("invokeai", key)
        assert (found.prompt, found.negative_prompt, found.seed) == ("a duck", "a goose", "5")
        assert (found.steps, found.cfg, found.sampler, found.model_name) == (30, 7.5, "euler", "some")
        assert (found.gen_width, found.gen_height, found.loras) == (832, 1216, (MetadataLora("x", -0.5),))
    assert read({"nodes": {"a": {"type": "resize"}}}, "png:invokeai_graph").generator == "invokeai"
    shapes: list[dict[str, Any]] = [
        {"nodes": 3},
        {"nodes": [None, {}], "edges": [3, {"source": {}}]},
        {"edges": {}},
    ]
    for shape in shapes:
        assert read(shape, "png:invokeai_graph").problem is None


@pytest.mark.parametrize("listed", ['["x", "y.safetensors"]', "['x', 'y.safetensors']", ["x", "y.safetensors"]])
def test_easy_diffusion_lists_loras_embeddings_and_more(listed: Any) -> None:
    found = read(
        {
            "prompt": "a",
            "seed": 5,
            "use_stable_diffusion_model": "sd",
            "use_lora_model": listed,
            "lora_alpha": [0.5, 1.0],
            "use_embedding_models": "neg",
            "use_controlnet_model": "canny",
            "control_filter_to_apply": "canny",
            "use_upscale": "RealESRGAN_x4plus",
            "tiling": "xy",
        },
        "exif:UserComment",
    )
    assert found.loras == (MetadataLora("x", 0.5), MetadataLora("y", 1.0))
    assert (found.embeddings, found.controls) == ((EmbeddingUse("neg"),), (ControlUse("canny", "canny"),))
    assert (found.upscaler, found.extras) == ("RealESRGAN_x4plus", (("tiling", "xy"),))


def test_draw_things_names_its_loras() -> None:
    given = {"c": "a", "sampler": "x", "seed": 5, "loras": [{"file": "l.ckpt", "weight": 0.5}], "shift": 3}
    found = read(given, "exif:UserComment")
    assert (found.loras, found.extras) == ((MetadataLora("l", 0.5),), (("shift", "3"),))


@pytest.mark.parametrize(
    ("key", "given"),
    [
        ("png:parameters", {"prompt": "a", "num_inference_steps": 3, "use_upscaler": {"scale": 1.5}}),
        ("png:parameters-json", {"PositivePrompt": "a", "Seed": 1, "ModelType": "x"}),
        ("png:sd-metadata", {"app_id": "invoke", "image": {"prompt": "a", "type": "txt2img", "seed": 1}}),
        ("png:generation_data", {"prompt": "a", "ksampler": "x"}),
    ],
)
def test_every_pair_without_a_column_is_kept(key: str, given: dict[str, Any]) -> None:
    kept = dict(read(given, key).extras)
    assert kept.keys() & {"use_upscaler", "ModelType", "type", "ksampler"}


def test_our_own_recipe_fills_the_same_places() -> None:
    recipe = Recipe(
        kind="txt2img",
        prompt="a",
        seed=1,
        variation=RecipeVariation(seed=9, strength=0.25),
        width=64,
        height=64,
        steps=4,
        cfg=5,
        sampler="euler",
        model=ModelRef(name="m", hash="0" * 10),
        vae=ModelRef(name="v", hash="0" * 10),
        embeddings=(EmbeddingRef(name="e", hash="ab"),),
        stages=(
            HiresRecipe(width=96, height=96, upscaler="latent", steps=3, denoise=0.5),
            DetailRecipe(
                detector=ModelRef(name="d", hash="0" * 10),
                confidence=0.5,
                max=3,
                padding=0.2,
                size=64,
                feather=0.1,
                denoise=0.3,
            ),
            UpscaleRecipe(model=ModelRef(name="up", hash="0" * 10), tile=64, overlap=8),
        ),
    )
    found = read(recipe.model_dump_json(), "png:indexd")
    assert (found.variation_seed, found.variation_strength, found.vae, found.upscaler) == ("9", 0.25, "v", "up")
    assert (found.hires_scale, found.hires_steps, found.hires_upscaler, found.hires_denoise) == (1.5, 3, "latent", 0.5)
    assert (found.embeddings, found.detailers) == (
        (EmbeddingUse("e", "ab"),),
        (DetailerUse("d", None, None, 0.3),),
    )


@pytest.mark.parametrize(
    ("given", "prompt", "negative"),
    [
        ("Prompt: a duck | NegativePrompt: a goose", "a duck", "a goose"),
        ("Prompt: a | b, <lora:x:0.5> | NegativePrompt: ", "a | b, <lora:x:0.5>", ""),
        ("Prompt: say | Steps: 3 | and go on | NegativePrompt: c | d", "say | Steps: 3 | and go on", "c | d"),
    ],
)
def test_koboldcpp_puts_bars_between(given: str, prompt: str, negative: str) -> None:
    found = read(
        f"{given} | Steps: 20 | CFGScale: 7 | Guidance: 3.5 | Seed: 5 | Size: 512x768 | Sampler: dpm++2m karras| Timestep Shift: 3"
        " | Clip skip: -1 | Model: dir/some.gguf | VAE: v | Version: KoboldCpp"
    )
    assert (found.generator, found.prompt, found.negative_prompt) == ("koboldcpp", prompt, negative)
    assert (found.seed, found.steps, found.cfg, found.guidance) == ("5", 20, 7.0, 3.5)
    # As stable-diffusion.cpp has it: one name for both.
    assert (found.sampler, found.schedule, found.model_name) == ("dpm++2m karras", None, "some")
    assert (found.gen_width, found.clip_skip, found.vae) == (512, None, "v")
    assert found.extras == (("Timestep Shift", "3"),)
    assert read("Prompt: a recipe | Steps: mix well | Version: mine").is_ai is None
