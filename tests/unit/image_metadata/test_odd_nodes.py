"""Nodes of many packages in the place of ComfyUI's own: each must give the same answers as the plain graph."""

from __future__ import annotations

import json
from typing import Any

import pytest

from indexd.image_metadata.model import DetailerUse, EmbeddingUse, ImageMetadata, MetadataLora, RawChunk, ResourceUse
from indexd.image_metadata.parser import parse_metadata
from tests.unit.image_metadata.test_comfyui import SAMPLER, Nodes, base, read

Node = tuple[str, dict[str, Any]]
SPLIT = {"noise": ["n", 0], "guider": ["g", 0], "sampler": ["s", 0], "sigmas": ["t", 0], "latent_image": ["empty", 0]}
NOISE: Node = ("RandomNoise", {"noise_seed": 11})
NAMED: Node = ("KSamplerSelect", {"sampler_name": "euler"})
STEPS: Node = ("BasicScheduler", {"scheduler": "karras", "steps": 20, "denoise": 1, "model": ["ckpt", 0]})
SAMPLED = {"steps": 20, "cfg": 6.5, "sampler_name": "euler", "scheduler": "karras", "denoise": 1, "seed": 11}
SIZED = {"empty_latent_width": 832, "empty_latent_height": 1216}
LOADED = {"ckpt_name": "sdxl\\some model.safetensors", "positive": "a duck", "negative": "a goose", **SIZED}


def words(kind: str, **inputs: Any) -> Nodes:
    """The plain graph with another node for the prompt."""
    return base(good=(kind, {**inputs, "clip": ["ckpt", 1]}))


def through(**nodes: Node) -> Nodes:
    """The plain graph whose prompt comes out of the node `t`."""
    return base(good=("CLIPTextEncode", {"text": ["t", 0], "clip": ["ckpt", 1]}), **nodes)


def driven(**nodes: Node) -> Nodes:
    """The plain graph whose model comes out of the node `m`."""
    return base(k=("KSampler", {**SAMPLER, "model": ["m", 0]}), **nodes)


@pytest.mark.parametrize(
    "nodes",
    [
        words("CLIPTextEncodeSD3", clip_l="a duck", clip_g="a duck", t5xxl="a duck", empty_padding="none"),
        words("CLIPTextEncodeHunyuanDiT", bert="a duck", mt5xl="a duck"),
        words("CLIPTextEncodeLumina2", system_prompt="superior", user_prompt="a duck"),
        words("TextEncodeQwenImageEditPlus", prompt="a duck", vae=["ckpt", 2]),
        words("CLIPTextEncodeHiDream", clip_l="a duck", clip_g="a duck", t5xxl="a duck", llama="a duck"),
        through(t=("StringConcatenate", {"string_a": "a", "string_b": "duck", "delimiter": " "})),
        through(
            t=("ImpactSwitch", {"select": 2, "sel_mode": False, "input1": ["x", 0], "input2": ["y", 0]}),
            x=("String Literal", {"string": "no"}),
            y=("String Literal", {"string": "a duck"}),
        ),
        through(t=("Any Switch (rgthree)", {"any_01": ["y", 0]}), y=("String Literal", {"string": "a duck"})),
        through(t=("ShowText|pysssss", {"text": ["z", 0], "text_0": "a duck"}), z=("OllamaGenerate", {"query": "no"})),
        base(
            good=("ConditioningSetTimestepRange", {"conditioning": ["x", 0], "start": 0.0, "end": 1.0}),
            x=("CLIPTextEncode", {"text": "a duck"}),
        ),
        base(
            good=("CLIPTextEncode", {"text": ["t", 0]}),
            bad=("CLIPTextEncode", {"text": ["t", 1]}),
            t=("SDXLPromptStyler", {"text_positive": "a duck", "text_negative": "a goose", "style": "base"}),
        ),
        base(
            k=("SamplerCustomAdvanced", SPLIT),
            n=NOISE,
            s=NAMED,
            t=STEPS,
            g=(
                "DualCFGGuider",
                {
                    "model": ["ckpt", 0],
                    "cond1": ["good", 0],
                    "cond2": ["bad", 0],
                    "negative": ["bad", 0],
                    "cfg_conds": 6.5,
                },
            ),
        ),
        base(
            k=("KSampler", {**SAMPLER, "model": ["r", 0], "positive": ["q", 0]}),
            r=("Reroute", {"": ["ckpt", 0]}),
            q=("Reroute (rgthree)", {"": ["good", 0]}),
        ),
        base(k=("KSampler", {**SAMPLER, "steps": ["i", 0]}), i=("INTConstant", {"value": 20})),
        base(k=("ClownsharKSampler_Beta", {**SAMPLER, "eta": 0.5, "steps_to_run": -1, "sampler_mode": "standard"})),
        driven(
            m=("IPAdapterAdvanced", {"weight": 1, "model": ["ckpt", 0], "ipadapter": ["i", 0]}),
            i=("IPAdapterModelLoader", {"ipadapter_file": "ip.safetensors"}),
        ),
        driven(
            m=("ModelMergeSimple", {"model1": ["ckpt", 0], "model2": ["x", 0], "ratio": 0.5}),
            x=("CheckpointLoaderSimple", {"ckpt_name": "second.safetensors"}),
        ),
        driven(m=("ModelSamplingAuraFlow", {"shift": 3.1, "model": ["ckpt", 0]})),
        base(save=("Image Saver", {"images": ["decode", 0], "modelname": "no", "positive": "no", "seed_value": 3, "steps": 1})),
        {
            "l": ("easy fullLoader", {**LOADED, "config_name": "Default", "resolution": "832 x 1216"}),
            "k": ("easy fullkSampler", {**SAMPLED, "image_output": "Save", "pipe": ["l", 0]}),
        },
        {
            "l": ("easy a1111Loader", LOADED),
            "p": ("easy preSampling", {**SAMPLED, "pipe": ["l", 0]}),
            "k": ("easy kSampler", {"image_output": "Hide", "pipe": ["p", 0]}),
            "s": ("SaveImage", {"images": ["k", 1]}),
        },
        {
            "l": ("ttN pipeLoader_v2", {**LOADED, "seed": 3, "loras": ""}),
            "k": ("ttN pipeKSampler_v2", {**SAMPLED, "pipe": ["l", 0]}),
        },
        {
            "l": ("Efficient Loader", {**LOADED, "vae_name": "Baked VAE", "clip_skip": -1, "lora_name": "None"}),
            "k": (
                "KSampler (Efficient)",
                {**SAMPLED, "model": ["l", 0], "positive": ["l", 1], "negative": ["l", 2], "latent_image": ["l", 3]},
            ),
            "s": ("SaveImage", {"images": ["k", 5]}),
        },
    ],
    ids=lambda nodes: " ".join(kind for kind, _ in nodes.values())[:60],
)  # fmt: skip
def test_the_same_answers(nodes: Nodes) -> None:
    found = read(nodes)
    assert (found.prompt, found.negative_prompt, found.seed) == ("a duck", "a goose", "11")
    assert (found.steps, found.cfg, found.sampler, found.schedule) == (20, 6.5, "euler", "karras")
    assert (found.model_name, found.gen_width, found.gen_height) == ("some model", 832, 1216)


def test_a_video_models_wrapper() -> None:
    found = read(
        {
            "m": ("WanVideoModelLoader", {"model": "wan/some.safetensors", "base_precision": "bf16"}),
            "t": ("WanVideoTextEncode", {"positive_prompt": "a duck", "negative_prompt": "a goose", "t5": ["x", 0]}),
            "x": ("LoadWanVideoT5TextEncoder", {"model_name": "umt5.safetensors"}),
            "e": ("WanVideoEmptyEmbeds", {"width": 832, "height": 480, "num_frames": 81}),
            "k": (
                "WanVideoSampler",
                {
                    "model": ["m", 0],
                    "text_embeds": ["t", 0],
                    "image_embeds": ["e", 0],
                    "steps": 20,
                    "cfg": 6.5,
                    "seed": 11,
                    "scheduler": "unipc",
                },
            ),
            "v": ("VHS_VideoCombine", {"images": ["d", 0]}),
            "d": ("WanVideoDecode", {"samples": ["k", 0]}),
        }
    )
    assert (found.prompt, found.negative_prompt, found.model_name) == ("a duck", "a goose", "some")
    assert (found.seed, found.steps, found.gen_width, found.schedule) == ("11", 20, 832, "unipc")


def refined() -> ImageMetadata:
    shared = {**{key: value for key, value in SAMPLER.items() if key not in ("seed", "denoise")}, "noise_seed": 11}
    nodes = base(
        k=("KSamplerAdvanced", {**shared, "start_at_step": 0, "end_at_step": 16}),
        second=(
            "KSamplerAdvanced",
            {**shared, "start_at_step": 16, "end_at_step": 10000, "model": ["r", 0], "latent_image": ["k", 0]},
        ),
        r=("CheckpointLoaderSimple", {"ckpt_name": "xl_refiner.safetensors"}),
        decode=("VAEDecode", {"samples": ["second", 0], "vae": ["ckpt", 2]}),
    )
    return read(nodes)


def test_a_refiner_takes_over_within_the_steps() -> None:
    found = refined()
    assert (found.model_name, found.refiner) == ("some model", "xl_refiner")
    assert [(one.start_step, one.end_step) for one in found.passes] == [(0, 16), (16, 10000)]


def test_what_enlarges_between_two_passes_and_behind_them() -> None:
    nodes = base(
        up=("LatentUpscaleBy", {"samples": ["k", 0], "upscale_method": "bislerp", "scale_by": 1.5}),
        second=("KSampler", {**SAMPLER, "steps": 9, "denoise": 0.4, "latent_image": ["up", 0]}),
        decode=("VAEDecode", {"samples": ["second", 0], "vae": ["ckpt", 2]}),
        big=("ImageUpscaleWithModel", {"upscale_model": ["um", 0], "image": ["decode", 0]}),
        um=("UpscaleModelLoader", {"model_name": "4x-UltraSharp.pth"}),
        save=("SaveImage", {"images": ["big", 0]}),
    )
    found = read(nodes)
    assert (found.hires_upscaler, found.hires_scale, found.hires_steps, found.hires_denoise) == ("bislerp", 1.5, 9, 0.4)
    assert found.upscaler == "4x-UltraSharp"
    assert read(base()).hires_upscaler is None


def test_detailers_embeddings_and_addresses() -> None:
    face = {**SAMPLER, "denoise": 0.4, "image": ["decode", 0], "bbox_detector": ["b", 0], "wildcard": "a beak"}
    nodes = base(
        ckpt=("CheckpointLoaderSimple", {"ckpt_name": "urn:air:sdxl:checkpoint:civitai:101055@128078"}),
        bad=("CLIPTextEncode", {"text": "embedding:EasyNegative, (embedding:hands.pt:1.2)", "clip": ["ckpt", 1]}),
        face=("FaceDetailer", face),
        b=("UltralyticsDetectorProvider", {"model_name": "bbox/face_yolov8m.pt"}),
        save=("SaveImage", {"images": ["face", 0]}),
    )
    found = read(nodes)
    assert found.detailers == (DetailerUse("face_yolov8m", "a beak", None, 0.4),)
    assert found.embeddings == (EmbeddingUse("EasyNegative"), EmbeddingUse("hands"))
    assert found.resources == (ResourceUse("urn:air:sdxl:checkpoint:civitai:101055@128078", "checkpoint"),)


@pytest.mark.parametrize(
    "nodes",
    [
        driven(
            m=(
                "Power Lora Loader (rgthree)",
                {
                    "PowerLoraLoaderHeaderWidget": {"type": "x"},
                    "lora_1": {"on": True, "lora": "a.safetensors", "strength": -0.5},
                    "lora_2": {"on": False, "lora": "b.safetensors", "strength": 1},
                    "model": ["ckpt", 0],
                },
            )
        ),
        driven(
            m=("CR Apply LoRA Stack", {"model": ["ckpt", 0], "lora_stack": ["s", 0]}),
            s=(
                "CR LoRA Stack",
                {
                    "switch_1": "On",
                    "lora_name_1": "a.safetensors",
                    "model_weight_1": -0.5,
                    "switch_2": "Off",
                    "lora_name_2": "b.safetensors",
                },
            ),
        ),
        driven(m=("LoraLoaderModelOnly", {"lora_name": "x/a.safetensors", "strength_model": -0.5, "model": ["ckpt", 0]})),
    ],
    ids=lambda nodes: nodes["m"][0],
)  # fmt: skip
def test_stacks_of_loras(nodes: Nodes) -> None:
    found = read(nodes)
    assert (found.loras, found.model_name) == ((MetadataLora("a", -0.5),), "some model")


def test_the_picture_that_it_began_with_is_named() -> None:
    nodes = base(empty=("VAEEncode", {"pixels": ["i", 0], "vae": ["ckpt", 2]}), i=("LoadImage", {"image": "in/a.png"}))
    assert ("source image", "in/a.png") in read(nodes).extras
    assert read(base()).extras == ()


def with_text_from(**node: Any) -> ImageMetadata:
    """A graph whose positive text comes from this node."""
    graph = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "toy.safetensors"}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": ["9", 0], "clip": ["1", 1]}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["1", 1]}},
        "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "5": {
            "class_type": "KSampler",
            "inputs": {"seed": 5, "steps": 9, "model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0]}
            | {"latent_image": ["4", 0], "cfg": 4.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0},
        },
        "6": {"class_type": "SaveImage", "inputs": {"images": ["5", 0]}},
        "9": node,
        "10": {"class_type": "StringConstant", "inputs": {"string": "a dog"}},
        "11": {"class_type": "StringConstant", "inputs": {"string": "a cat"}},
        "13": {"class_type": "OllamaGenerate", "inputs": {"prompt": "describe a dog"}},
        "12": {"class_type": "RandomInt", "inputs": {"seed": 3}},
    }
    return parse_metadata([RawChunk("png:prompt", "utf-8", json.dumps(graph))])


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("OllamaGenerateV2", {"system": "You expand prompts", "prompt": "dog idea"}),
        ("LLM_Node", {"prompt": "dog idea"}),
        ("ChatGptPrompt", {"text": "describe a dog"}),
        ("Florence2Run", {"text_input": "describe", "task": "caption"}),
        ("WD14Tagger|pysssss", {"exclude_tags": "monochrome"}),
        ("PromptEnhancer", {"prompt": "dog idea"}),
        ("Text Random Line", {"multiline_text": "a dog\na cat", "seed": 3}),
        ("RandomPrompt", {"text": "a dog\na cat"}),
        ("DPRandomGenerator", {"text": "a {dog|cat}"}),
        ("WildcardEncode", {"wildcard_text": "a __animal__"}),
        ("ImpactSwitch", {"select": ["12", 0], "input1": ["10", 0], "input2": ["11", 0]}),
        ("JoinStrings", {"string1": "best quality, ", "string2": ["13", 0]}),
        ("IfElse", {"boolean": ["12", 0], "on_true": ["10", 0], "on_false": ["11", 0]}),
        ("RegexReplace", {"string": "a cat", "regex_pattern": "c.t", "replace": "dog"}),
        ("StringReplace", {"string": "a cat", "find": ["12", 0], "replace": "dog"}),
    ],
)
def test_a_text_that_is_written_while_the_graph_runs_is_not_stated(kind: str, inputs: dict[str, Any]) -> None:
    found = with_text_from(class_type=kind, inputs=inputs)
    assert (found.prompt, found.negative_prompt, found.seed) == (None, "blurry", "5")


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("ImpactWildcardProcessor", {"wildcard_text": "a {dog|cat}", "populated_text": "a dog"}),
        ("RandomPrompt", {"text": "a dog"}),
        ("UnloadAllModels", {"value": "a dog"}),
        ("ShowText|pysssss", {"text": ["10", 0], "text_0": "a dog"}),
        ("ImpactSwitch", {"select": 1, "input1": ["10", 0], "input2": ["11", 0]}),
        ("ImpactSwitch", {"select": ["12", 0], "input1": ["10", 0], "input2": ["10", 0]}),
        ("IfElse", {"boolean": True, "on_true": ["10", 0], "on_false": ["11", 0]}),
        ("StringReplace", {"string": "a cat", "find": "cat", "replace": "dog"}),
        ("Text Find and Replace", {"text": "a cat", "find": "cat", "replace": "dog"}),
    ],
)
def test_a_text_that_is_final_is_stated(kind: str, inputs: dict[str, Any]) -> None:
    assert with_text_from(class_type=kind, inputs=inputs).prompt == "a dog"
