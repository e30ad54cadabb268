"""Clip skip, denoise, ControlNets, hires, detailers and hashes in the formats that state them; none where they do not."""

from __future__ import annotations

import json
from typing import Any

from indexd.image_metadata.model import ControlUse, DetailerUse, ImageMetadata, RawChunk
from indexd.image_metadata.parser import parse_metadata


def read(key: str, value: Any, **more: str) -> ImageMetadata:
    chunks = [
        RawChunk(key, "utf-8", json.dumps(value)),
        *(RawChunk(name, "utf-8", text) for name, text in more.items()),
    ]
    return parse_metadata(chunks)


def test_invokeai_states_hires_settings_that_were_off() -> None:
    given = {"positive_prompt": "a dog", "seed": 1, "steps": 9, "scheduler": "euler", "hrf_strength": 0.45}
    given |= {"hrf_method": "ESRGAN", "clip_skip": 2}
    off = read("png:invokeai_metadata", given | {"hrf_enabled": False})
    assert (off.hires_denoise, off.hires_upscaler, off.clip_skip) == (None, None, 2)
    on = read("png:invokeai_metadata", given | {"hrf_enabled": True})
    assert (on.hires_denoise, on.hires_upscaler) == (0.45, "ESRGAN")


def test_invokeai_adapters_are_controls() -> None:
    unit = {"control_weight": 0.5, "begin_step_percent": 0.1, "end_step_percent": 0.9}
    given = {
        "positive_prompt": "a dog",
        "controlnets": [{"control_model": {"name": "canny"}, **unit}],
        "t2iAdapters": [{"t2i_adapter_model": {"name": "depth"}, "weight": 0.7, "begin_step_percent": 0}],
    }
    assert read("png:invokeai_metadata", given).controls == (
        ControlUse("canny", None, 0.5, 0.1, 0.9),
        ControlUse("depth", None, 0.7, 0.0, None),
    )


def test_swarmui_has_three_controlnets() -> None:
    given = {"prompt": "a dog", "seed": 1, "controlnetmodel": "canny.safetensors", "controlnetstrength": 0.5}
    given |= {"controlnettwomodel": "depth", "controlnettwostart": 0.2, "controlnettwoend": 0.8}
    metadata = read("png:parameters", {"sui_image_params": given})
    assert metadata.controls == (ControlUse("canny", None, 0.5), ControlUse("depth", None, None, 0.2, 0.8))
    assert metadata.extras == ()


def test_swarmui_refines_without_enlarging() -> None:
    given = {"prompt": "a dog", "seed": 1, "refinerupscalemethod": "pixel-lanczos", "refinercontrolpercentage": 0.4}
    plain, large = (read("png:parameters", {"sui_image_params": given | {"refinerupscale": one}}) for one in (1.0, 1.5))
    assert (plain.hires_scale, plain.hires_upscaler, plain.hires_denoise) == (None, None, 0.4)
    assert (large.hires_scale, large.hires_upscaler) == (1.5, "pixel-lanczos")


def draw_things(**more: Any) -> ImageMetadata:
    whole = {"controls": [], "loras": [], "hiresFix": False, "hiresFixStrength": 0.7} | more
    given = {
        "c": "a dog",
        "uc": "",
        "seed": 1,
        "steps": 9,
        "scale": 4,
        "sampler": "Euler A",
        "model": "toy",
        "v2": whole,
    }
    return read("exif:UserComment", given)


def test_draw_things_repeats_everything_under_v2() -> None:
    plain = draw_things()
    assert (plain.hires_denoise, plain.controls, plain.loras, plain.refiner) == (None, (), (), None)
    full = draw_things(
        hiresFix=True,
        refinerModel="refiner_q6p.ckpt",
        upscaler="4x_ultra.ckpt",
        loras=[{"file": "style_lora_f16.ckpt", "weight": 0.6}],
        controls=[{"file": "canny_f16.ckpt", "weight": 1, "guidanceStart": 0, "guidanceEnd": 0.5}],
    )
    assert (full.hires_denoise, full.refiner, full.upscaler) == (0.7, "refiner_q6p", "4x_ultra")
    assert full.loras[0].weight == 0.6
    assert full.controls == (ControlUse("canny_f16", None, 1.0, 0.0, 0.5),)


def test_novelai_names_the_hash_of_its_model_and_an_unused_control_strength() -> None:
    given = {"prompt": "a dog", "uc": "", "seed": 1, "steps": 28, "scale": 5, "controlnet_strength": 1.0}
    named = {"png:Source": "Stable Diffusion XL C1E1DE52", "png:Software": "NovelAI"}
    metadata = read("png:Comment", given, **named)
    assert (metadata.model_name, metadata.model_hash) == ("Stable Diffusion XL C1E1DE52", "C1E1DE52")
    assert metadata.controls == ()
    assert read("png:Comment", given | {"controlnet_model": "hed"}, **named).controls == (
        ControlUse("hed", weight=1.0),
    )


def test_easy_diffusion_has_a_switch_for_clip_skip() -> None:
    given = {"prompt": "a dog", "seed": 1, "use_stable_diffusion_model": "toy"}
    assert [read("exif:UserComment", given | {"clip_skip": one}).clip_skip for one in (True, False)] == [2, None]


def test_a_space_states_its_upscaler() -> None:
    given: dict[str, Any] = {"prompt": "a dog", "num_inference_steps": 28, "seed": 1, "use_upscaler": None}
    assert read("png:parameters", given).hires_scale is None
    used = {"upscale_method": "nearest-exact", "upscaler_strength": 0.55, "upscale_by": 1.5}
    found = read("png:parameters", given | {"use_upscaler": used})
    assert (found.hires_scale, found.hires_upscaler, found.hires_denoise) == (1.5, "nearest-exact", 0.55)


def test_tensor_art_states_hires_settings_that_were_off() -> None:
    given = {"prompt": "a dog", "seed": "1", "steps": 9, "hrUpscaler": "R-ESRGAN", "denoisingStrength": 0.4}
    off, on = (read("png:generation_data", given | {"enableHr": is_on}) for is_on in (False, True))
    assert (off.hires_upscaler, off.hires_denoise) == (None, None)
    assert (on.hires_upscaler, on.hires_denoise) == ("R-ESRGAN", 0.4)


def test_a_description_of_civitai_keeps_what_the_infotext_said() -> None:
    meta = {
        "prompt": "a dog",
        "negativePrompt": "",
        "cfgScale": 5,
        "steps": 20,
        "seed": 1,
        "clipSkip": 2,
        "hashes": {"model": "0123456789"},
        "Hires steps": "12",
        "Hires upscale": "1.5",
        "Hires upscaler": "Latent",
        "Denoising strength": "0.4",
        "ADetailer model": "face_yolov8n.pt",
        "ADetailer denoising strength": "0.3",
        "ControlNet 0": "Module: canny, Model: canny_v11 [cab727d4], Weight: 0.8",
        "Version": "v1.9.4",
        "Odd": "kept",
    }
    found = read("sidecar:civitai", {"meta": meta})
    assert (found.clip_skip, found.model_hash, found.denoise) == (2, "0123456789", 0.4)
    assert (found.hires_scale, found.hires_steps, found.hires_upscaler, found.hires_denoise) == (1.5, 12, "Latent", 0.4)
    assert found.controls == (ControlUse("canny_v11", "canny", 0.8, hash="cab727d4"),)
    assert found.detailers == (DetailerUse("face_yolov8n", None, None, 0.3),)
    assert dict(found.extras) == {"Version": "v1.9.4", "Odd": "kept"}
    assert (found.generator, found.source) == ("civitai", "sidecar:civitai")
