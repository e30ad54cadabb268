"""ComfyUI graphs: every way of stating something that the tracer must see through."""

from __future__ import annotations

import json
from typing import Any

import pytest

from indexd.image_metadata.model import ControlUse, ImageMetadata, MetadataLora, RawChunk
from indexd.image_metadata.parser import parse_metadata

Nodes = dict[str, tuple[str, dict[str, Any]]]


def api(nodes: Nodes) -> dict[str, Any]:
    return {key: {"class_type": kind, "inputs": inputs} for key, (kind, inputs) in nodes.items()}


def read(nodes: Nodes, key: str = "png:prompt") -> ImageMetadata:
    return parse_metadata([RawChunk(key, "utf-8", json.dumps(api(nodes)))])


SAMPLER: dict[str, Any] = {
    "seed": 11,
    "steps": 20,
    "cfg": 6.5,
    "sampler_name": "euler",
    "scheduler": "karras",
    "denoise": 1.0,
    "model": ["ckpt", 0],
    "positive": ["good", 0],
    "negative": ["bad", 0],
    "latent_image": ["empty", 0],
}


def base(**changes: Any) -> Nodes:
    """The plain text-to-image graph; a change replaces a node, or one input of the sampler."""
    nodes: Nodes = {
        "ckpt": ("CheckpointLoaderSimple", {"ckpt_name": "sdxl\\some model.safetensors"}),
        "good": ("CLIPTextEncode", {"text": "a duck", "clip": ["ckpt", 1]}),
        "bad": ("CLIPTextEncode", {"text": "a goose", "clip": ["ckpt", 1]}),
        "empty": ("EmptyLatentImage", {"width": 832, "height": 1216, "batch_size": 1}),
        "k": ("KSampler", dict(SAMPLER)),
        "decode": ("VAEDecode", {"samples": ["k", 0], "vae": ["ckpt", 2]}),
        "save": ("SaveImage", {"images": ["decode", 0]}),
    }
    for name, value in changes.items():
        if name in SAMPLER:
            nodes["k"][1][name] = value
        else:
            nodes[name] = value
    return nodes


def test_the_plain_graph() -> None:
    metadata = read(base())
    assert (metadata.prompt, metadata.negative_prompt) == ("a duck", "a goose")
    assert (metadata.seed, metadata.steps, metadata.cfg, metadata.denoise) == ("11", 20, 6.5, 1.0)
    assert (metadata.sampler, metadata.schedule, metadata.model_name) == ("euler", "karras", "some model")
    assert (metadata.gen_width, metadata.gen_height, metadata.generator) == (832, 1216, "comfyui")
    assert len(metadata.passes) == 1


@pytest.mark.parametrize(
    ("seed", "expected"), [(2**64 - 1, str(2**64 - 1)), (0, "0"), (-1, None), (2**64, None), (1.5, None), (True, None)]
)
def test_seeds_are_exact_and_sane(seed: Any, expected: str | None) -> None:
    assert read(base(seed=seed)).seed == expected


def test_two_passes_begin_with_the_empty_latent() -> None:
    second = {**SAMPLER, "seed": 99, "steps": 14, "denoise": 0.5, "latent_image": ["up", 0]}
    nodes = base(second=("KSampler", second), up=("LatentUpscale", {"samples": ["k", 0], "width": 9, "height": 9}))
    nodes["decode"][1]["samples"] = ["second", 0]
    metadata = read(nodes)
    assert [item.seed for item in metadata.passes] == ["11", "99"]
    assert (metadata.seed, metadata.gen_width) == ("11", 832)
    again = dict(reversed(nodes.items()))
    assert read(again).seed == "11"


def test_a_pass_over_pixels_is_no_first_pass() -> None:
    nodes = base(
        face=("FaceDetailer", {**SAMPLER, "seed": 5, "denoise": 0.4, "image": ["decode", 0], "latent_image": None}),
        save=("SaveImage", {"images": ["face", 0]}),
    )
    assert [item.seed for item in read(nodes).passes] == ["11", "5"]


def test_the_longest_way_to_a_saved_picture_counts_and_previews_come_after() -> None:
    nodes = base(
        lone=("KSampler", {**SAMPLER, "seed": 77}),
        view=("PreviewImage", {"images": ["lone", 0]}),
    )
    assert [item.seed for item in read(nodes).passes] == ["11"]
    del nodes["save"]
    del nodes["decode"]
    assert read(nodes).seed == "77"


def test_a_sampler_in_five_nodes() -> None:
    nodes = base(
        k=(
            "SamplerCustomAdvanced",
            {
                "noise": ["n", 0],
                "guider": ["g", 0],
                "sampler": ["s", 0],
                "sigmas": ["t", 0],
                "latent_image": ["empty", 0],
            },
        ),
        n=("RandomNoise", {"noise_seed": 42}),
        g=("BasicGuider", {"model": ["unet", 0], "conditioning": ["flux", 0]}),
        flux=("FluxGuidance", {"guidance": 3.5, "conditioning": ["good", 0]}),
        s=("KSamplerSelect", {"sampler_name": "euler"}),
        t=("BasicScheduler", {"scheduler": "simple", "steps": 20, "denoise": 1.0, "model": ["unet", 0]}),
        unet=("UNETLoader", {"unet_name": "flux1-dev.safetensors"}),
    )
    metadata = read(nodes)
    assert (metadata.prompt, metadata.negative_prompt, metadata.cfg) == ("a duck", "", None)
    assert (metadata.seed, metadata.steps, metadata.sampler, metadata.schedule) == ("42", 20, "euler", "simple")
    assert metadata.model_name == "flux1-dev"
    assert metadata.guidance == 3.5
    nodes["g"] = ("CFGGuider", {"model": ["unet", 0], "positive": ["good", 0], "negative": ["bad", 0], "cfg": 4})
    assert (read(nodes).cfg, read(nodes).negative_prompt) == (4.0, "a goose")


def test_samplers_and_schedules_that_are_node_classes() -> None:
    nodes = base(
        k=(
            "SamplerCustom",
            {
                "noise_seed": 1,
                "cfg": 2,
                "model": ["ckpt", 0],
                "positive": ["good", 0],
                "negative": ["bad", 0],
                "sampler": ["s", 0],
                "sigmas": ["t", 0],
                "latent_image": ["empty", 0],
            },
        ),
        s=("SamplerEulerAncestral", {"eta": 1.0, "s_noise": 1.0}),
        t=("KarrasScheduler", {"steps": 9, "rho": 7.0, "sigma_max": 14.6, "sigma_min": 0.03}),
    )
    metadata = read(nodes)
    assert (metadata.sampler, metadata.schedule, metadata.steps, metadata.seed) == ("euler_ancestral", "karras", 9, "1")


def test_linked_seed_and_text_through_primitives_and_reroutes() -> None:
    nodes = base(
        seed=["prim", 0],
        prim=("Seed (rgthree)", {"seed": 123}),
        good=("CLIPTextEncode", {"text": ["route", 0], "clip": ["ckpt", 1]}),
        route=("Reroute", {"": ["words", 0]}),
        words=("PrimitiveStringMultiline", {"value": "from afar"}),
    )
    assert (read(nodes).seed, read(nodes).prompt) == ("123", "from afar")


def test_joined_switched_and_styled_texts() -> None:
    one, two = ("String Literal", {"string": "one"}), ("String Literal", {"string": "two"})
    joined = base(
        good=("CLIPTextEncode", {"text": ["j", 0]}),
        j=("Text Concatenate", {"delimiter": ", ", "text_a": ["x", 0], "text_b": ["y", 0]}),
        x=one,
        y=two,
    )
    assert read(joined).prompt == "one, two"
    switched = base(
        good=("CLIPTextEncode", {"text": ["j", 0]}),
        j=("CR Text Input Switch", {"Input": 2, "text1": ["x", 0], "text2": ["y", 0]}),
        x=one,
        y=two,
    )
    assert read(switched).prompt == "two"
    either = base(
        good=("CLIPTextEncode", {"text": ["j", 0]}),
        j=("Switch any", {"boolean": False, "on_true": ["x", 0], "on_false": ["y", 0]}),
        x=one,
        y=two,
    )
    assert read(either).prompt == "two"
    styled = base(
        good=("CLIPTextEncode", {"text": ["style", 0]}),
        bad=("CLIPTextEncode", {"text": ["style", 1]}),
        style=("SDXLPromptStyler", {"text_positive": "plus", "text_negative": "minus", "style": "base"}),
    )
    assert (read(styled).prompt, read(styled).negative_prompt) == ("plus", "minus")


def test_texts_of_other_encoders() -> None:
    assert (
        read(base(good=("CLIPTextEncodeSDXL", {"text_g": "big", "text_l": "small", "clip": ["ckpt", 1]}))).prompt
        == "big"
    )
    assert (
        read(base(good=("CLIPTextEncodeFlux", {"clip_l": "l", "t5xxl": "long one", "guidance": 3}))).prompt
        == "long one"
    )
    assert read(base(good=("smZ CLIPTextEncode", {"text": "t", "text_g": "", "text_l": ""}))).prompt == "t"
    assert (
        read(base(good=("ImpactWildcardEncode", {"wildcard_text": "__x__", "populated_text": "red"}))).prompt == "red"
    )
    assert read(base(good=("Power Prompt (rgthree)", {"prompt": "power"}))).prompt == "power"
    assert read(base(good=("CLIPTextEncode", {"text": "", "clip": ["ckpt", 1]}))).prompt == ""


def test_conditionings_are_walked_by_their_side() -> None:
    both = {
        "positive": ["good", 0],
        "negative": ["bad", 0],
        "strength": 0.8,
        "start_percent": 0.0,
        "end_percent": 0.5,
        "control_net": ["net", 0],
    }
    nodes = base(
        positive=["apply", 0],
        negative=["apply", 1],
        apply=("ControlNetApplyAdvanced", both),
        net=("ControlNetLoader", {"control_net_name": "x/pose.safetensors"}),
    )
    metadata = read(nodes)
    assert (metadata.prompt, metadata.negative_prompt) == ("a duck", "a goose")
    assert metadata.controls == (ControlUse("pose", None, 0.8, 0.0, 0.5),)
    pixels = base(
        positive=["ip2p", 0],
        negative=["ip2p", 1],
        ip2p=("InstructPixToPixConditioning", {"positive": ["good", 0], "negative": ["bad", 0], "pixels": ["load", 0]}),
        load=("LoadImage", {"image": "in.png"}),
    )
    assert (read(pixels).prompt, read(pixels).negative_prompt) == ("a duck", "a goose")


def test_an_emptied_negative_is_empty() -> None:
    assert read(base(bad=("ConditioningZeroOut", {"conditioning": ["good", 0]}))).negative_prompt == ""


def test_labels_of_areas_do_not_take_the_prompts_place() -> None:
    gligen = base(
        positive=["box", 0], box=("GLIGENTextBoxApply", {"conditioning_to": ["good", 0], "text": "sun", "width": 8})
    )
    assert read(gligen).prompt == "a duck"
    areas = base(
        positive=["sum", 0],
        sum=("ConditioningCombine", {"conditioning_1": ["area", 0], "conditioning_2": ["good", 0]}),
        area=(
            "ConditioningSetArea",
            {"conditioning": ["sky", 0], "width": 64, "height": 64, "x": 0, "y": 0, "strength": 1.0},
        ),
        sky=("CLIPTextEncode", {"text": "the sky"}),
    )
    metadata = read(areas)
    assert metadata.prompt == "a duck"
    assert ("other prompt", "the sky") in metadata.extras


def test_concatenated_conditionings_are_one_prompt() -> None:
    nodes = base(
        positive=["sum", 0],
        sum=("ConditioningConcat", {"conditioning_to": ["good", 0], "conditioning_from": ["more", 0]}),
        more=("CLIPTextEncode", {"text": "on a pond"}),
    )
    assert read(nodes).prompt == "a duck\non a pond"


def test_the_model_behind_loras_and_patches() -> None:
    nodes = base(
        model=["patch", 0],
        patch=("ModelSamplingDiscrete", {"sampling": "v", "model": ["b", 0]}),
        b=(
            "LoraLoader",
            {"lora_name": "dir/b.safetensors", "strength_model": -3, "strength_clip": 1.0, "model": ["a", 0]},
        ),
        a=("LoraLoaderModelOnly", {"lora_name": "a.safetensors", "strength_model": 0.5, "model": ["hyper", 0]}),
        hyper=("HypernetworkLoader", {"hypernetwork_name": "h.pt", "strength": 1.0, "model": ["ckpt", 0]}),
    )
    metadata = read(nodes)
    assert metadata.model_name == "some model"
    assert metadata.loras == (MetadataLora("b", -3.0, 1.0), MetadataLora("a", 0.5))


def test_stacks_of_loras() -> None:
    power = base(
        model=["p", 0],
        p=(
            "Power Lora Loader (rgthree)",
            {
                "lora_1": {"on": True, "lora": "x.safetensors", "strength": 0.7},
                "lora_2": {"on": False, "lora": "y.safetensors", "strength": 1},
                "model": ["ckpt", 0],
            },
        ),
    )
    assert read(power).loras == (MetadataLora("x", 0.7),)
    stack = base(
        model=["s", 0],
        s=(
            "Lora Loader Stack (rgthree)",
            {"lora_01": "x.safetensors", "strength_01": 0.3, "lora_02": "None", "strength_02": 1, "model": ["ckpt", 0]},
        ),
    )
    assert read(stack).loras == (MetadataLora("x", 0.3),)
    listed = base(
        model=["m", 0],
        m=(
            "Lora Loader (LoraManager)",
            {"loras": {"__value__": [{"name": "z", "strength": "0.4", "active": True}]}, "model": ["ckpt", 0]},
        ),
    )
    assert read(listed).loras == (MetadataLora("z", 0.4),)


def test_efficient_nodes_hold_their_texts_on_the_loader() -> None:
    nodes: Nodes = {
        "load": (
            "Efficient Loader",
            {
                "ckpt_name": "e.safetensors",
                "positive": "yes",
                "negative": "no",
                "lora_name": "None",
                "clip_skip": -2,
                "empty_latent_width": 512,
            },
        ),
        "k": (
            "KSampler (Efficient)",
            {
                **SAMPLER,
                "model": ["load", 0],
                "positive": ["load", 1],
                "negative": ["load", 2],
                "latent_image": ["load", 3],
            },
        ),
        "save": ("SaveImage", {"images": ["k", 5]}),
    }
    metadata = read(nodes)
    assert (metadata.prompt, metadata.negative_prompt, metadata.model_name) == ("yes", "no", "e")
    assert metadata.loras == ()


def test_a_pipe_carries_everything() -> None:
    nodes: Nodes = {
        "ckpt": ("CheckpointLoaderSimple", {"ckpt_name": "p.safetensors"}),
        "good": ("CLIPTextEncode", {"text": "yes"}),
        "bad": ("CLIPTextEncode", {"text": "no"}),
        "pipe": (
            "ToBasicPipe",
            {
                "model": ["ckpt", 0],
                "clip": ["ckpt", 1],
                "vae": ["ckpt", 2],
                "positive": ["good", 0],
                "negative": ["bad", 0],
            },
        ),
        "k": (
            "ImpactKSamplerBasicPipe",
            {
                "basic_pipe": ["pipe", 0],
                "seed": 3,
                "steps": 4,
                "cfg": 5,
                "sampler_name": "lcm",
                "scheduler": "normal",
                "denoise": 1,
                "latent_image": ["e", 0],
            },
        ),
        "e": ("EmptyLatentImage", {"width": 64, "height": 64}),
        "save": ("SaveImage", {"images": ["k", 0]}),
    }
    metadata = read(nodes)
    assert (metadata.prompt, metadata.negative_prompt, metadata.model_name, metadata.seed) == ("yes", "no", "p", "3")


def test_stages_of_a_cascade_begin_with_the_far_one() -> None:
    nodes = base(
        k=("KSampler", {**SAMPLER, "seed": 1}),
        stage=("StableCascade_StageB_Conditioning", {"conditioning": ["good", 0], "stage_c": ["k", 0]}),
        b=("KSampler", {**SAMPLER, "seed": 2, "positive": ["stage", 0]}),
        decode=("VAEDecode", {"samples": ["b", 0]}),
    )
    assert read(nodes).seed == "1"


def test_clip_skip_vae_and_size_in_words() -> None:
    nodes = base(
        skip=("CLIPSetLastLayer", {"stop_at_clip_layer": -2, "clip": ["ckpt", 1]}),
        good=("CLIPTextEncode", {"text": "x", "clip": ["skip", 0]}),
        vae=("VAELoader", {"vae_name": "dir/nice.pt"}),
        empty=("SDXL Empty Latent Image (rgthree)", {"dimensions": "1216 x 832   (landscape)", "batch_size": 1}),
    )
    metadata = read(nodes)
    assert (metadata.clip_skip, metadata.vae, metadata.gen_width, metadata.gen_height) == (2, "nice", 1216, 832)


def test_where_savers_put_it() -> None:
    prompt = json.dumps(api(base()))
    places = [
        [RawChunk("exif:Model", "utf-8", f"prompt:{prompt}")],
        [RawChunk("exif:Make", "utf-8", f"Prompt: {prompt}")],
        [RawChunk("exif:UserComment", "utf-8", prompt)],
        [RawChunk("exif:UserComment", "utf-8", json.dumps({"prompt": api(base()), "workflow": {}}))],
        [RawChunk("exif:UserComment", "utf-8", json.dumps({"prompt": prompt, "workflow": "{}"}))],
        [RawChunk("png:prompt", "utf-8", prompt.replace('"cfg": 6.5', '"cfg": 6.5, "odd": NaN') + "\0\0")],
    ]
    for chunks in places:
        assert (parse_metadata(chunks).prompt, parse_metadata(chunks).seed) == ("a duck", "11"), chunks[0].key


@pytest.mark.parametrize("text", ["Canon", "prompt: a duck", "workflow", "Prompt"])
def test_cameras_use_make_and_model_too(text: str) -> None:
    assert parse_metadata([RawChunk("exif:Make", "utf-8", text), RawChunk("exif:Model", "utf-8", text)]).is_ai is None


def test_civitai_jobs_are_graphs_with_extra_keys() -> None:
    nodes = api(base(ckpt=("CheckpointLoaderSimple", {"ckpt_name": "urn:air:sdxl:checkpoint:civitai:1@2"}), steps=None))
    asked = json.dumps({"steps": 25, "workflowId": "img2img-hires"})
    whole = {**nodes, "extra": {"airs": []}, "extraMetadata": asked}
    metadata = parse_metadata([RawChunk("exif:UserComment", "utf-16-be", json.dumps(whole))])
    assert (metadata.generator, metadata.model_name, metadata.steps) == (
        "civitai",
        "urn:air:sdxl:checkpoint:civitai:1@2",
        25,
    )
    assert ("workflowId", "img2img-hires") in metadata.extras


def test_a_graph_without_a_sampler_is_still_comfyuis() -> None:
    metadata = parse_metadata(
        [RawChunk("png:prompt", "utf-8", json.dumps(api({"1": ("LoadImage", {"image": "x.png"})})))]
    )
    assert (metadata.generator, metadata.prompt) == ("comfyui", None)


# Graphs made to hurt. A walk without a bound would not end here within the lifetime of the test run.


def test_circles_end() -> None:
    nodes = base(
        positive=["a", 0],
        a=("ConditioningCombine", {"conditioning_1": ["b", 0], "conditioning_2": ["a", 0]}),
        b=("ConditioningCombine", {"conditioning_1": ["a", 0], "conditioning_2": ["good", 0]}),
        model=["m", 0],
        m=("LoraLoader", {"lora_name": "x", "model": ["m2", 0]}),
        m2=("LoraLoader", {"lora_name": "y", "model": ["m", 0]}),
        seed=["s", 0],
        s=("Reroute", {"value": ["s", 0]}),
        latent_image=["k", 0],
    )
    metadata = read(nodes)
    assert (metadata.prompt, metadata.seed, metadata.model_name) == ("a duck", None, None)


def test_towers_of_diamonds_are_bounded() -> None:
    nodes = base(positive=["c0", 0])
    for level in range(200):
        nodes[f"c{level}"] = (
            "ConditioningCombine",
            {"conditioning_1": [f"c{level + 1}", 0], "conditioning_2": [f"c{level + 1}", 0]},
        )
    nodes["c200"] = ("CLIPTextEncode", {"text": ["t0", 0]})
    for level in range(200):
        nodes[f"t{level}"] = ("Text Concatenate", {"text_a": [f"t{level + 1}", 0], "text_b": [f"t{level + 1}", 0]})
    nodes["t200"] = ("String Literal", {"string": "word " * 1000})
    metadata = read(nodes)
    assert metadata.seed == "11"
    assert len(metadata.prompt or "") <= 1 << 20


def test_long_chains_and_many_samplers_are_bounded() -> None:
    nodes = base(positive=["c0", 0])
    for level in range(5000):
        nodes[f"c{level}"] = ("FluxGuidance", {"conditioning": [f"c{level + 1}", 0], "guidance": 1})
        nodes[f"k{level}"] = ("KSampler", {**SAMPLER, "latent_image": [f"k{level + 1}", 0]})
    nodes["save"] = ("SaveImage", {"images": ["k0", 0]})
    assert len(read(nodes).passes) <= 50
