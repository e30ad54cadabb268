"""Kinds of files that were once read wrong, each as a small file of its own: a wrong value is worse than a missing one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from indexd.image_metadata.model import ImageMetadata, MetadataLora, RawChunk
from indexd.image_metadata.parser import parse_metadata
from tests.unit.image_metadata.test_comfyui import SAMPLER, Nodes, api, base, read
from tests.unit.image_metadata.test_workflow import Flow, plain


def parse(**texts: Any) -> ImageMetadata:
    """The metadata of texts by key; `__` stands for `:`, values that are no text become JSON."""
    return parse_metadata(
        [
            RawChunk(key.replace("__", ":"), "utf-8", value if isinstance(value, str) else json.dumps(value))
            for key, value in texts.items()
        ]
    )


# Infotexts and texts like them.


def test_the_template_of_sdnext_before_its_settings_is_no_negative_prompt() -> None:
    line = "Steps: 4, Size: 64x64, Seed: 8, CFG scale: 1, App: SD.Next"
    found = parse(png__parameters=f"a duck\nNegative prompt: \nTemplate: a {{duck}}\nin two lines\n{line}")
    assert (found.prompt, found.negative_prompt, found.raw_prompt) == ("a duck", "", "a {duck}\nin two lines")
    without = parse(png__parameters=f"a duck\nTemplate: a {{duck}}\n{line}")
    assert (without.prompt, without.negative_prompt) == ("a duck", None)


def test_a_prompt_may_have_a_line_that_begins_with_template() -> None:
    assert parse(png__parameters="Template: blank\nSteps: 4, Seed: 8").prompt == "Template: blank"


LABELLED = (
    "Positive prompt:\na duck,\nModel: toy\nNegative prompt:\na goose\nModel: some\nSeed: 5\nSteps: 10\n"
    "CFG scale: 5.50\nSampler: dpmpp_sde\nScheduler: karras\nStart at step: 0\nEnd at step: 10000\n"
    "Denoising strength: 0.35"
)


def test_a_saver_with_one_label_a_line_leaves_no_label_in_the_prompts() -> None:
    found = parse(png__parameters=LABELLED.replace("\nModel: toy", ""))
    assert (found.prompt, found.negative_prompt) == ("a duck,", "a goose")
    assert (found.seed, found.steps, found.cfg, found.sampler) == ("5", 10, 5.5, "dpmpp_sde")
    assert (found.schedule, found.denoise, found.model_name) == ("karras", 0.35, "some")


def test_labels_may_be_parted_by_bars() -> None:
    found = parse(png__parameters="a duck | Negative prompt: a goose | Seed: 5 | Steps: 10 | Sampler: euler")
    assert (found.prompt, found.negative_prompt, found.seed, found.steps) == ("a duck", "a goose", "5", 10)


@pytest.mark.parametrize(
    "text", ["Positive prompt: a duck", "a letter\nModel: T\nSeed: wheat", "Prompt: a recipe | Steps: mix | Size: big"]
)
def test_texts_with_labels_of_something_else_are_not_read(text: str) -> None:
    assert parse(png__Comment=text).is_ai is None


def test_a_bare_prompt_is_read_where_only_generators_write() -> None:
    found = parse(png__parameters="a duck\nNegative prompt: a goose")
    assert (found.prompt, found.negative_prompt, found.is_ai) == ("a duck", "a goose", "metadata")
    assert parse(png__Description="a duck on a lake").is_ai is None
    assert parse(exif__UserComment="a duck on a lake").is_ai is None


def test_the_model_is_found_in_hashes_and_old_hashes_leave_the_name() -> None:
    found = parse(png__parameters='a\nSteps: 1, Seed: 1, Hashes: {"Model:flux1-dev-fp8": "8e91", "model": "8e91"}')
    assert (found.model_name, found.model_hash) == ("flux1-dev-fp8", "8e91")
    old = parse(png__parameters="a\nSteps: 1, Seed: 1, ControlNet Enabled: True, ControlNet Model: scribble(fef5e48e)")
    assert [use.model for use in old.controls] == ["scribble"]


@pytest.mark.parametrize("word", ["Undefined", "undefined", "None", "Default"])
def test_a_choice_of_nothing_is_no_value(word: str) -> None:
    found = parse(png__parameters=f"a\nSteps: 1, Seed: 1, Sampler: {word}, Model: {word}, VAE: Baked VAE")
    assert (found.sampler, found.model_name, found.vae) == (None, None, None)
    assert found.passes[0].sampler is None


# Fooocus, Draw Things, NovelAI, InvokeAI, Civitai.


def test_a_lora_that_fooocus_names_twice_is_one() -> None:
    found = parse(
        png__parameters={
            "prompt": "a duck",
            "negative_prompt": "",
            "full_negative_prompt": ["unrealistic", "goose"],
            "base_model": "some",
            "loras": [["x.safetensors", 0.5, "ab"]],
            "lora_combined_1": "x.safetensors : 0.5",
            "lora_combined_2": "y.safetensors : 0.25",
        }
    )
    assert found.loras == (MetadataLora("x", 0.5, None, "ab"), MetadataLora("y", 0.25))
    assert found.negative_prompt == "unrealistic, goose"


def test_letters_that_a_comment_lost_are_taken_from_the_description() -> None:
    description = "a duck — “wet” 🦆\n-a goose…\nSteps: 4, Sampler: UniPC, Seed: 5, Size: 64x64"
    lossy = {"c": "a duck ? ?wet? ??", "uc": "a goose?", "sampler": "UniPC", "seed": 5, "size": "64x64", "clip_skip": 2}
    found = parse(exif__UserComment=lossy, exif__ImageDescription=description)
    assert (found.prompt, found.negative_prompt, found.clip_skip) == ("a duck — “wet” 🦆", "a goose…", 2)
    other = parse(exif__UserComment={**lossy, "c": "why?"}, exif__ImageDescription=description)
    assert other.prompt == "why?"


def test_the_director_tools_of_novelai_are_known_as_such() -> None:
    found = parse(png__Comment={"req_type": "sketch"}, png__Software="NovelAI", png__Title="AI augmented image")
    assert (found.generator, found.is_ai, found.prompt) == ("novelai", "metadata", None)
    assert parse(png__Comment={"req_type": "sketch"}).is_ai is None


INVOKE_FLOW = {
    "nodes": [
        {
            "id": "d",
            "data": {"type": "denoise_latents", "inputs": {"steps": {"value": 30}, "scheduler": {"value": "euler_a"}}},
        },
        {"id": "n", "data": {"type": "noise", "inputs": {"seed": {"value": 0}, "width": {"value": 64}}}},
        {"id": "r", "data": {"type": "rand_int", "inputs": {"low": {"value": 0}}}},
    ],
    "edges": [
        {"source": "n", "target": "d", "targetHandle": "noise"},
        {"source": "r", "target": "n", "targetHandle": "seed"},
    ],
}


def test_a_value_under_a_link_is_stale_in_invokeai() -> None:
    assert parse(png__invokeai_workflow=INVOKE_FLOW).seed is None


def test_gaps_of_invokeai_metadata_are_filled_from_its_workflow() -> None:
    found = parse(png__invokeai_metadata={"positive_prompt": "a duck", "seed": 5}, png__invokeai_workflow=INVOKE_FLOW)
    assert (found.prompt, found.seed, found.steps, found.sampler) == ("a duck", "5", 30, "euler_a")


def test_a_civitai_job_without_a_sampler_is_read_from_its_request() -> None:
    graph: dict[str, Any] = api({"1": ("LoadImage", {"image": "x"}), "2": ("SaveImage", {"images": ["1", 0]})})
    request = {"prompt": "a duck", "negativePrompt": "a goose", "seed": 5, "clipSkip": 2, "width": 64, "height": 96}
    found = parse(png__prompt={**graph, "extraMetadata": json.dumps(request)})
    assert (found.generator, found.prompt, found.negative_prompt, found.seed) == ("civitai", "a duck", "a goose", "5")
    assert (found.clip_skip, found.gen_width, found.gen_height) == (2, 64, 96)


# ComfyUI graphs.


def test_an_unknown_node_does_not_pass_on_any_string_behind_it() -> None:
    nodes = base(
        reader=("SomeReader", {"image": ["batch", 0], "model": ["lora", 0], "negative": ["bad_text", 0]}),
        batch=("SomeBatch", {"path": "a file among others"}),
        lora=("LoraSelector", {"value": "style.safetensors"}),
        bad_text=("Text Multiline", {"text": "a goose"}),
        good=("CLIPTextEncode", {"text": ["reader", 2], "clip": ["ckpt", 1]}),
    )
    assert read(nodes).prompt is None


def test_an_index_picks_one_line_of_a_list_of_prompts() -> None:
    lines = ("PromptListSelector", {"prompts": "a duck\na goose\na swan", "index": 1})
    good = ("CLIPTextEncode", {"text": ["lines", 0], "clip": ["ckpt", 1]})
    assert read(base(lines=lines, good=good)).prompt == "a goose"
    unknown = ("PromptListSelector", {"prompts": "a duck\na goose", "index": ["counter", 0]})
    assert read(base(lines=unknown, counter=("Counter", {"mode": "x"}), good=good)).prompt is None


@pytest.mark.parametrize(
    ("node", "size"),
    [
        (("Ratio Picker", {"width": 1, "height": 8}), (None, None)),
        (("Resolutions", {"resolution": "1152x896", "direction": "portrait"}), (896, 1152)),
        (("SDXL Sizes", {"dimensions": " 832 x 1216 (portrait)"}), (832, 1216)),
    ],
)
def test_a_size_is_two_numbers_of_an_image_or_none(node: tuple[str, Any], size: tuple[Any, Any]) -> None:
    empty = ("EmptyLatentImage", {"width": ["size", 0], "height": ["size", 1], "batch_size": 1})
    found = read(base(size=node, empty=empty))
    assert (found.gen_width, found.gen_height) == size


def test_a_sampler_behind_a_control_image_is_not_the_first_pass() -> None:
    nodes = base(
        k0=("KSampler", {**SAMPLER, "seed": 99, "steps": 4}),
        decode0=("VAEDecode", {"samples": ["k0", 0]}),
        depth=("DepthPreprocessor", {"image": ["decode0", 0]}),
        control=("ControlNetApply", {"conditioning": ["good", 0], "control_net": ["net", 0], "image": ["depth", 0]}),
        net=("ControlNetLoader", {"control_net_name": "depth.safetensors"}),
        positive=["control", 0],
    )
    found = read(nodes)
    assert (found.seed, found.steps, len(found.passes)) == ("11", 20, 1)


def test_every_value_is_followed_through_contexts_by_its_slot() -> None:
    nodes = base(
        seeds=("Seed (rgthree)", {"seed": 77}),
        first=("Context Big (rgthree)", {"model": ["ckpt", 0], "seed": ["seeds", 0], "steps": 12, "cfg": 3.5}),
        second=("Context Big (rgthree)", {"base_ctx": ["first", 0]}),
        seed=["second", 8],
        steps=["second", 9],
        cfg=["second", 11],
        model=["second", 1],
    )
    found = read(nodes)
    assert (found.seed, found.steps, found.cfg, found.model_name) == ("77", 12, 3.5, "some model")


def test_a_seed_is_not_taken_for_steps_where_a_node_gives_out_both() -> None:
    nodes = base(many=("Settings", {"seed": 77, "note": "x"}), steps=["many", 3], seed=["many", 0])
    found = read(nodes)
    assert (found.seed, found.steps) == ("77", None)


def test_an_operand_is_not_the_result_of_a_calculation() -> None:
    nodes = base(
        sum=("MathOperation", {"a": ["other", 0], "b": 5}), other=("PrimitiveInt", {"value": 15}), steps=["sum", 0]
    )
    assert read(nodes).steps is None


def test_the_size_of_the_file_tells_which_output_it_is() -> None:
    nodes = base(
        small=("EmptyLatentImage", {"width": 512, "height": 512, "batch_size": 1}),
        k2=("KSampler", {**SAMPLER, "seed": 22, "latent_image": ["small", 0]}),
        decode2=("VAEDecode", {"samples": ["k2", 0]}),
        save2=("SaveImage", {"images": ["decode2", 0]}),
    )
    chunks = [RawChunk("png:prompt", "utf-8", json.dumps(api(nodes)))]
    assert parse_metadata(chunks, image_size=(512, 512)).seed == "22"
    assert parse_metadata(chunks, image_size=(832, 1216)).seed == "11"


def test_the_text_of_the_second_pass_counts_where_the_first_has_none() -> None:
    nodes = base(
        nothing=("EncodeImage", {"clip_vision": ["ckpt", 0]}),
        positive=["nothing", 0],
        k2=("KSampler", {**SAMPLER, "latent_image": ["k", 0]}),
        decode=("VAEDecode", {"samples": ["k2", 0], "vae": ["ckpt", 2]}),
    )
    assert read(nodes).prompt == "a duck"


PARTNER: Nodes = {
    "text": ("PrimitiveStringMultiline", {"value": "a duck"}),
    "api": (
        "SomeImageNode",
        {"prompt": ["text", 0], "negative_prompt": "a goose", "seed": 5, "model": "some-2", "size": "1024x1536"},
    ),
    "save": ("SaveImage", {"images": ["api", 0]}),
}


def test_a_partner_node_that_feeds_the_save_states_everything() -> None:
    found = read(PARTNER)
    assert (found.prompt, found.negative_prompt, found.seed, found.model_name) == ("a duck", "a goose", "5", "some-2")
    assert (found.gen_width, found.gen_height) == (1024, 1536)


def test_a_node_that_only_has_a_text_generates_nothing() -> None:
    nodes: Nodes = {
        "load": ("LoadImage", {"image": "x.png"}),
        "draw": ("AddTextOverlay", {"text": "a title", "image": ["load", 0]}),
        "save": ("SaveImage", {"images": ["draw", 0]}),
    }
    assert read(nodes).prompt is None


def test_settings_of_one_data_stream_are_read() -> None:
    nodes: Nodes = {
        "a": ("SeargeTextInputV2", {"prompt": "a duck"}),
        "b": ("SeargeTextInputV2", {"prompt": "a goose"}),
        "prompts": ("SeargePromptAdapterV2", {"main_prompt": ["a", 0], "negative_main_prompt": ["b", 0]}),
        "models": ("SeargeModelSelector", {"base_checkpoint": "some.safetensors", "data": ["prompts", 0]}),
        "loras": (
            "SeargeLoras",
            {"lora_1": "x.safetensors", "lora_1_strength": 0.2, "lora_2": "none", "data": ["models", 0]},
        ),
        "numbers": (
            "SeargeGenerationParameters",
            {
                "seed": 5,
                "image_size_preset": "832x1216 (2:3)",
                "image_width": 1024,
                "image_height": 1024,
                "steps": 30,
                "cfg": 5,
                "sampler_name": "dpmpp_2m",
                "scheduler": "karras",
                "data": ["loras", 0],
            },
        ),
        "box": ("SeargeMagicBox", {"data": ["numbers", 0]}),
        "end": ("SeargePipelineTerminator", {"data": ["box", 0]}),
    }
    found = read(nodes)
    assert (found.prompt, found.negative_prompt, found.seed, found.model_name) == ("a duck", "a goose", "5", "some")
    assert (found.steps, found.cfg, found.sampler, found.schedule) == (30, 5.0, "dpmpp_2m", "karras")
    assert (found.gen_width, found.gen_height, found.loras) == (832, 1216, (MetadataLora("x", 0.2),))


# Workflows whose widget values have no names.


def unknown_sampler(*widgets: Any) -> ImageMetadata:
    flow = plain()
    flow.nodes = [node for node in flow.nodes if node["type"] != "KSampler"]
    flow.links = []
    flow.node(3, "Fancy KSampler", widgets, ("model:MODEL", "positive:CONDITIONING"), ("LATENT",))
    flow.node(9, "SaveImage", (), ("images:IMAGE",))
    flow.link(4, 0, 3, "model")
    flow.link(6, 0, 3, "positive")
    flow.link(3, 0, 9, "images")
    return flow.read()


@pytest.mark.parametrize(
    ("widgets", "wanted"),
    [
        ((123456789, "fixed", 20, 7.5, "euler", "karras", 0.5), ("123456789", 20, 7.5, "euler", "karras", 0.5)),
        ((123456789, None, 35, 9, "dpmpp_2m", "normal", 0, 30), ("123456789", 35, 9.0, "dpmpp_2m", "normal", None)),
        (("enable", 7, "randomize", 20, 8, "euler", "simple", 0, 10000), ("7", 20, 8.0, "euler", "simple", None)),
        ((20, 7.0, 0.6, "euler", "karras"), (None, 20, 7.0, "euler", "karras", 0.6)),
        ((5, 20, 7, "euler", "normal", 1), ("5", 20, 7.0, "euler", "normal", 1.0)),
        ((5, 20, 1, "euler", "simple", 1), ("5", 20, 1.0, "euler", "simple", 1.0)),
        ((5, 20, 8, 1, 5, 8, 1, "euler", "normal"), (None, None, None, "euler", "normal", None)),
        ((1, 2, 3), (None, None, None, None, None, None)),
    ],
)
def test_values_without_names_are_recognised_or_left_out(widgets: tuple[Any, ...], wanted: tuple[Any, ...]) -> None:
    found = unknown_sampler(*widgets)
    assert (found.seed, found.steps, found.cfg, found.sampler, found.schedule, found.denoise) == wanted


def test_the_text_of_an_unknown_encoder_is_recognised() -> None:
    flow = plain()
    flow.node(60, "Fancy Encode", ("a duck on a lake, wet", "mean", "A1111"), ("clip:CLIP",), ("CONDITIONING",))
    flow.links = [link for link in flow.links if link[1] != 6]
    flow.link(60, 0, 3, "positive")
    flow.link(4, 0, 3, "model")
    assert flow.read().prompt == "a duck on a lake, wet"


def test_a_group_node_is_unfolded_with_the_values_of_its_instance() -> None:
    inner = Flow()
    inner.node(0, "CLIPTextEncode", ("old",), ("clip:CLIP",), ("CONDITIONING",))
    inner.node(
        1, "KSampler", (1, "fixed", 2, 3, "ddim", "simple", 1), ("model:MODEL", "positive:CONDITIONING"), ("LATENT",)
    )
    inner.link(0, 0, 1, "positive")
    group = {"nodes": inner.nodes, "links": [[0, 0, 1, 1, 0, "CONDITIONING"]], "external": []}
    flow = Flow()
    flow.node(4, "CheckpointLoaderSimple", ("some.safetensors",), outputs=("MODEL", "CLIP", "VAE"))
    widgets = ("a duck", 11, "fixed", 20, 6.5, "euler", "karras", 1)
    flow.node(5, "workflow>make", widgets, ("clip:CLIP", "model:MODEL"), ("LATENT",))
    flow.node(9, "SaveImage", (), ("images:IMAGE",))
    flow.link(4, 1, 5, "clip")
    flow.link(4, 0, 5, "model")
    flow.link(5, 0, 9, "images")
    found = flow.read(extra={"groupNodes": {"make": group}})
    assert (found.prompt, found.seed, found.steps, found.model_name) == ("a duck", "11", 20, "some")


def test_a_line_of_the_prompt_that_looks_like_a_label_stays_in_the_prompt() -> None:
    found = parse(
        png__parameters="Positive prompt: a cat,\n model: vogue, nice\nNegative prompt: bad\nModel: dream\nSeed: 7\nSteps: 20"
    )
    assert (found.prompt, found.negative_prompt, found.model_name) == ("a cat,\n model: vogue, nice", "bad", "dream")


def test_a_vae_that_the_program_chose_has_no_name_and_hashes_are_kept() -> None:
    listed = '{"lora:foo": "aabb", "vae": "dd"}'
    found = parse(
        png__parameters=f"a <lora:foo:0.5>\nSteps: 20, Sampler: Euler, Seed: 5, VAE: Automatic, Hashes: {listed}"
    )
    assert (found.vae, found.vae_hash, found.loras[0].hash, found.loras[0].weight) == (None, "dd", "aabb", 0.5)


@pytest.mark.parametrize(("swap", "size"), [("Off", (896, 1152)), ("On", (1152, 896))])
def test_a_chosen_preset_goes_before_the_numbers_of_another_choice(swap: str, size: tuple[int, int]) -> None:
    picker = {"width": 1024, "height": 1024, "aspect_ratio": "3:4 portrait 896x1152", "swap_dimensions": swap}
    for latent in (
        {"2": {"class_type": "CR SDXL Aspect Ratio", "inputs": picker}},
        {
            "2": {"class_type": "EmptyLatentImage", "inputs": {"width": ["3", 0], "height": ["3", 1]}},
            "3": {"class_type": "CR SDXL Aspect Ratio", "inputs": picker},
        },
    ):
        sampler = {"seed": 1, "steps": 9, "model": ["4", 0], "latent_image": ["2", 4 if "3" not in latent else 0]}
        loader = {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "x.safetensors"}}
        found = parse(png__prompt={"1": {"class_type": "KSampler", "inputs": sampler}, "4": loader, **latent})
        assert (found.gen_width, found.gen_height) == size


def test_the_rows_of_a_power_lora_loader_are_read_from_a_workflow() -> None:
    flow = plain()
    rows: tuple[Any, ...] = (
        {},
        {"type": "PowerLoraLoaderHeaderWidget"},
        {"on": True, "lora": "a.safetensors", "strength": 0.7},
        {},
        "",
    )
    off = {"on": False, "lora": "b.safetensors", "strength": 1}
    flow.node(30, "Power Lora Loader (rgthree)", (*rows, off), ("model:MODEL", "clip:CLIP"), ("MODEL", "CLIP"))
    flow.link(4, 0, 30, "model")
    flow.link(30, 0, 3, "model")
    assert flow.read().loras == (MetadataLora("a", 0.7),)
