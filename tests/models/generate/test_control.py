"""ControlNets in a render: as diffusers computes them, in their own steps, and a base that is left alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from blake3 import blake3
from diffusers import (
    ControlNetModel,
    ControlNetUnionModel,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLControlNetUnionPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from safetensors.torch import load_file, save_file

from indexd.control_maps import edge_maps
from indexd.errors import CallCancelled, IndexdError, RenderFailed
from indexd.generate.context import DenoiseTask
from indexd.generate.model_lease import lease_model
from indexd.generate.pass_hooks import hooks_for_pass
from indexd.generate.sampling.noise_levels import TrainedNoise, noise_levels_for
from indexd.generate.sampling.sigma_schedules import build_sigmas
from indexd.generate.sampling.step_position import StepPosition
from indexd.generate.sdxl.controlnet import ControlInput, ControlNetHook
from indexd.generate.sdxl.controlnet_loader import lease_controlnet
from indexd.generate.sdxl.image_conditioning import attach_image_conditioning
from indexd.generate.sdxl.pipeline import SdxlModel
from indexd.worker.calls import Rendered
from indexd_schemas.recipe import Recipe
from indexd_schemas.recipe_part import FileKey
from indexd_schemas.samplers import resolve_sampler
from indexd_toyworld.original_layout import ldm_unet_name
from tests.models.generate.conftest import Studio, recipe_data
from tests.models.generate.diffusers_reference import diffusers_scheduler
from tests.support.tiny_models.conditioning import TinyConditioningModels

Look = Callable[[Rendered], Any]
SIDE = 64


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shapes with edges, in the size of the render."""
    pixels = np.full((SIDE, SIDE, 3), 30, np.uint8)
    pixels[16:48, 20:40] = (220, 180, 40)
    path = tmp_path_factory.mktemp("pictures") / "shapes.png"
    Image.fromarray(pixels).save(path)
    return path


def control(picture: Path, model: Path, kind: str = "canny", **more: Any) -> tuple[dict[str, Any], dict[FileKey, Path]]:
    content = blake3(picture.read_bytes()).hexdigest()
    entry: dict[str, Any] = {"type": kind, "model": {"name": model.stem}, "image": content}
    entry |= {"image_name": picture.name, "low": 100, "high": 200, **more}
    return entry, {FileKey("controlnet", model.stem): model, FileKey("image", content): picture}


def steered(studio: Studio, *controls: tuple[dict[str, Any], dict[FileKey, Path]], **fields: Any) -> Rendered:
    recipe = studio.recipe(control=[entry for entry, _ in controls], **fields)
    return studio.render(recipe, {key: path for _, files in controls for key, path in files.items()})


def by_diffusers(studio: Studio, kind: Any, net: Any, **given: Any) -> np.ndarray[Any, Any]:
    """The picture of diffusers' own pipeline from the same modules and the same noise."""
    base = studio.resident().pipeline
    pipeline = kind(**base.components, controlnet=net, add_watermarker=False)
    pipeline.scheduler = diffusers_scheduler("euler", karras=False)
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.randn((1, 4, SIDE // 8, SIDE // 8), generator=torch.Generator().manual_seed(7))
    made = pipeline(
        "a red cat", negative_prompt="blurry", num_inference_steps=4, guidance_scale=5.0, width=SIDE, height=SIDE,
        latents=noise, output_type="np", **given,
    )  # fmt: skip
    found: np.ndarray[Any, Any] = made.images[0]
    return found


def canny_of(picture: Path) -> Image.Image:
    with Image.open(picture) as opened:
        return Image.fromarray(edge_maps.canny(np.asarray(opened), 100, 200))


def test_it_is_what_diffusers_makes(
    studio: Studio, tiny_guides: TinyConditioningModels, picture: Path, look: Look
) -> None:
    ours = steered(studio, control(picture, tiny_guides.canny, strength=0.7, end=0.5))
    net = ControlNetModel.from_pretrained(tiny_guides.canny, dtype=torch.float32)
    theirs = by_diffusers(
        studio, StableDiffusionXLControlNetPipeline, net, image=canny_of(picture),
        controlnet_conditioning_scale=0.7, control_guidance_end=0.5,
    )  # fmt: skip
    difference = np.abs(look(ours).astype(int) - (theirs * 255).round().astype(int))
    assert difference.max() <= 1
    assert not np.array_equal(look(ours), look(studio()))


def test_a_union_is_what_diffusers_makes(
    studio: Studio, tiny_guides: TinyConditioningModels, picture: Path, look: Look
) -> None:
    """Two maps of one union are looked at together."""
    union = tiny_guides.union
    ours = steered(
        studio, control(picture, union, strength=0.8), control(picture, union, "tile", strength=0.5, preprocess=False)
    )
    net = studio.resident(-1).net
    assert isinstance(net, ControlNetUnionModel)
    with Image.open(picture) as opened:
        tile = opened.convert("RGB")
    theirs = by_diffusers(
        studio, StableDiffusionXLControlNetUnionPipeline, net, control_image=[canny_of(picture), tile],
        control_mode=[3, 6], controlnet_conditioning_scale=[0.8, 0.5],
    )  # fmt: skip
    assert np.abs(look(ours).astype(int) - (theirs * 255).round().astype(int)).max() <= 1


def test_several_add_up_and_each_counts(
    studio: Studio, tiny_guides: TinyConditioningModels, picture: Path, look: Look
) -> None:
    one = control(picture, tiny_guides.canny)
    other = control(picture, tiny_guides.tile, "tile", preprocess=False)
    both, first, second = steered(studio, one, other), steered(studio, one), steered(studio, other)
    assert not np.array_equal(look(both), look(first))
    assert not np.array_equal(look(both), look(second))
    assert np.array_equal(look(both), look(steered(studio, one, other)))


def test_strength_zero_is_the_base_and_so_is_what_comes_after(
    studio: Studio, tiny_guides: TinyConditioningModels, picture: Path, look: Look
) -> None:
    base = look(studio())
    assert np.array_equal(look(steered(studio, control(picture, tiny_guides.canny, strength=0.0))), base)
    assert np.array_equal(look(steered(studio, control(picture, tiny_guides.canny, start=1.0))), base)
    steered(studio, control(picture, tiny_guides.union))
    assert np.array_equal(look(studio()), base)


def test_the_recipe_says_what_was_used_and_makes_it_again(
    studio: Studio, tiny_guides: TinyConditioningModels, picture: Path
) -> None:
    wanted, files = control(picture, tiny_guides.tile, low=50, high=90)
    made = steered(studio, (wanted, files))
    [entry] = recipe_data(made)["control"]
    assert entry["map"] == "canny/50-90"
    assert len(entry["model"]["hash"]) == 10
    assert studio.render(made.recipe, files).encoded == made.encoded
    other = {**recipe_data(made), "control": [{**entry, "model": {**entry["model"], "hash": "0" * 10}}]}
    with pytest.raises(RenderFailed, match="ControlNet tiny-tile is not the file"):
        studio.render(other, files)


def test_the_infotext_has_a1111s_unit(
    studio: Studio, tiny_guides: TinyConditioningModels, picture: Path, tmp_path: Path
) -> None:
    from indexd.images.image_reader import read_image

    made = steered(studio, control(picture, tiny_guides.canny, strength=0.5, end=0.8))
    path = tmp_path / "made.png"
    path.write_bytes(made.encoded)
    with Image.open(path) as opened:
        text = opened.text["parameters"]  # type: ignore[attr-defined]
    assert 'ControlNet 0: "Module: canny, Model: tiny-canny [' in text
    with path.open("rb") as file:
        metadata = read_image(file, path.stat().st_size, path.name).metadata
    [use] = metadata.controls
    assert (use.model, use.module, use.weight, use.start, use.end) == ("tiny-canny", "canny", 0.5, 0.0, 0.8)


@pytest.fixture
def variant(tiny_guides: TinyConditioningModels, tmp_path: Path) -> Callable[[Callable[[Any], Any]], Path]:
    """The tiny tile ControlNet as a file with its weights changed."""

    def write(change: Callable[[Any], Any]) -> Path:
        path = tmp_path / "changed.safetensors"
        save_file({key: value.contiguous() for key, value in change(load_file(tiny_guides.tile)).items()}, path)
        return path

    return write


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda _found: {"lllite_unet.down.weight": torch.ones(1)}, "is a ControlNet-LLLite"),
        (lambda found: found | {"lora_controlnet": torch.ones(1)}, "is a Control-LoRA"),
        (lambda _found: {"adapter.body.0.weight": torch.ones(1)}, "is a T2I-Adapter"),
        (lambda _found: {"x": torch.ones(1)}, "is no ControlNet"),
        (lambda found: {key: value for key, value in found.items() if "mid_block" not in key}, "are missing"),
        (lambda found: found | {"more.weight": torch.ones(1)}, "1 are unknown, such as more.weight"),
        (
            lambda found: found | {(key := min(found)): found[key] * float("nan")},
            "is damaged: it has values that are no",
        ),
    ],
)
def test_other_files_are_refused_in_a_sentence(
    studio: Studio, picture: Path, variant: Any, change: Any, words: str
) -> None:
    with pytest.raises(RenderFailed, match=words):
        steered(studio, control(picture, variant(change)))


def test_a_file_of_fewer_blocks_is_understood(
    studio: Studio, tiny_guides: TinyConditioningModels, tmp_path: Path
) -> None:
    """The "small" ControlNets have no attention; a file does not say so but by its weights."""
    config = dict(ControlNetModel.load_config(tiny_guides.canny))
    config |= {"down_block_types": ["DownBlock2D"] * 3, "mid_block_type": "UNetMidBlock2D"}
    small = ControlNetModel.from_config(config)
    save_file(small.state_dict(), tmp_path / "small.safetensors")
    with lease_model(studio.session, str(studio.models.sdxl), None) as model, ExitStack() as stack:
        assert isinstance(model, SdxlModel)
        small_file = str(tmp_path / "small.safetensors")
        found = stack.enter_context(lease_controlnet(studio.session, model, "small", small_file))
        assert not any("attentions" in key for key in found.net.state_dict())


@pytest.mark.parametrize("prefix", ["", "control_model."])
def test_a_file_in_the_original_layout_is_the_same_net(
    studio: Studio, picture: Path, tmp_path: Path, look: Look, prefix: str
) -> None:
    """The names of lllyasviel's ControlNet (cldm/cldm.py), with and without the prefix of a whole checkpoint."""
    unet = UNet2DConditionModel.from_pretrained(studio.models.sdxl, subfolder="unet", local_files_only=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        net = ControlNetModel.from_unet(unet)  # its hint has the published sizes
        for name, weight in net.named_parameters():
            if name.startswith(("controlnet_down", "controlnet_mid")):
                torch.nn.init.normal_(weight, std=0.3)
    weights = {name: weight.half().contiguous() for name, weight in net.state_dict().items()}
    ours, original = tmp_path / "ours.safetensors", tmp_path / "original.safetensors"
    save_file(weights, ours)
    save_file({prefix + original_name(name): weight for name, weight in weights.items()}, original)
    first, second = (steered(studio, control(picture, path, strength=0.8)) for path in (ours, original))
    assert np.array_equal(look(first), look(second))
    assert not np.array_equal(look(first), look(studio()))


def original_name(name: str) -> str:
    """The name that a weight of a ControlNet has in the original code."""
    for ours, theirs in (
        (r"controlnet_down_blocks\.(\d+)", r"zero_convs.\1.0"),
        (r"controlnet_mid_block", "middle_block_out.0"),
        (r"controlnet_cond_embedding\.conv_in", "input_hint_block.0"),
        (r"controlnet_cond_embedding\.conv_out", "input_hint_block.14"),
    ):
        if found := re.match(ours, name):
            return found.expand(theirs) + name[found.end() :]
    if found := re.match(r"controlnet_cond_embedding\.blocks\.(\d+)", name):
        return f"input_hint_block.{2 * int(found[1]) + 2}{name[found.end() :]}"
    return ldm_unet_name(name, 2, frozenset())


def test_what_does_not_fit_is_said(
    studio: Studio, tiny_guides: TinyConditioningModels, picture: Path, tmp_path: Path
) -> None:
    with pytest.raises(RenderFailed, match=r"is a union of canny, depth.*it has no none"):
        steered(studio, control(picture, tiny_guides.union, "none", preprocess=False))
    with pytest.raises(RenderFailed, match="cannot be read"):
        steered(studio, control(picture, tmp_path / "gone.safetensors"))
    entry, files = control(picture, tiny_guides.canny)
    wrong = {**files, FileKey("image", "0" * 64): picture}
    with pytest.raises(RenderFailed, match=r"the image shapes\.png of control canny is not the image of the recipe"):
        steered(studio, ({**entry, "image": "0" * 64}, wrong))
    with pytest.raises(RenderFailed, match=r"the canny image shapes\.png has no file"):
        steered(studio, ({**entry, "image": "0" * 64}, files))
    with pytest.raises(IndexdError, match="nothing here makes normal maps"):
        steered(studio, control(picture, tiny_guides.union, "normal"))


def test_it_can_be_cancelled_before_the_first_step(
    studio: Studio, tiny_guides: TinyConditioningModels, picture: Path
) -> None:
    def stop(pause: int) -> None:
        if pause == 2:
            raise CallCancelled("enough")

    studio.session.on_pause = stop
    with pytest.raises(CallCancelled):
        steered(studio, control(picture, tiny_guides.canny))
    assert not studio.steps_seen()
    assert all(not one.leases for one in studio.session.pool._residents.values())


def test_a_pass_of_another_size_or_a_part_has_its_own_maps(
    studio: Studio, tiny_guides: TinyConditioningModels, picture: Path
) -> None:
    entry, files = control(picture, tiny_guides.canny)
    recipe = Recipe.model_validate(studio.recipe(control=[entry]))
    call = studio.call(recipe, files)
    with lease_model(studio.session, str(studio.models.sdxl), None) as model:
        bare = DenoiseTask(recipe, resolve_sampler("euler", None), model, studio.session)
        assert hooks_for_pass(bare, (SIDE, SIDE)) == ()
        with attach_image_conditioning(call, bare) as task:
            [whole] = hooks_for_pass(task, (SIDE, SIDE))
            [larger] = hooks_for_pass(task, (128, 96))
            [part] = hooks_for_pass(task, (SIDE, SIDE), box=(0.25, 0.25, 0.5, 0.5))
    maps = [one.control.pixels for one in (whole, larger, part) if isinstance(one, ControlNetHook)]
    assert [tuple(one.shape) for one in maps] == [(1, 3, 64, 64), (1, 3, 96, 128), (1, 3, 64, 64)]
    assert torch.equal(maps[0][0, 0] > 0.5, torch.from_numpy(np.asarray(canny_of(picture))[:, :, 0] > 127))
    cut = Image.fromarray((maps[0][0, 0].numpy() * 255).astype(np.uint8)).crop((16, 16, 48, 48))
    seen = np.asarray(cut.resize((SIDE, SIDE), Image.Resampling.LANCZOS), int)
    assert np.abs(seen - (maps[2][0, 0].numpy() * 255).round()).mean() < 8


@pytest.mark.parametrize("alone", [False, True])
def test_it_bears_on_inpainting_where_the_mask_lies(
    studio: Studio, tiny_guides: TinyConditioningModels, tmp_path: Path, look: Look, alone: bool
) -> None:
    pixels = np.full((96, 160, 3), 30, np.uint8)
    pixels[50:80, 100:140] = (220, 180, 40)
    source = tmp_path / "wide.png"
    Image.fromarray(pixels).save(source)
    entry, files = control(source, tiny_guides.canny)
    whole = {"width": 160, "height": 96} if not alone else {}
    recipe = studio.recipe(
        kind="inpaint",
        control=[entry],
        input={"hash": entry["image"], "name": "wide.png", "denoise": 0.9},
        mask={"box": [0.6, 0.5, 0.3, 0.4], "blur": 0, "only_masked": alone, "only_masked_padding": 0},
        **whole,
    )
    steered_by, free = studio.render(recipe, files), studio.render({**recipe, "control": []}, files)
    assert recipe_data(steered_by)["control"][0]["model"]["hash"]
    assert recipe_data(steered_by)["mask"]["box"] == recipe["mask"]["box"]
    different = np.any(np.asarray(look(steered_by)) != np.asarray(look(free)), axis=-1)
    assert different.shape == (96, 160)
    assert different[52:80, 100:140].any()
    assert not different[:40].any()
    assert np.array_equal(np.asarray(look(steered_by)), np.asarray(look(studio.render(recipe, files))))


@pytest.mark.parametrize(
    ("schedule", "steps", "span", "active"),
    [
        ("normal", 20, (0.0, 0.5), (0, 9)),
        ("normal", 20, (0.2, 0.7), (4, 13)),
        ("karras", 20, (0.0, 0.5), (0, 8)),
        ("normal", 8, (0.0, 0.33), (0, 2)),
        ("normal", 20, (0.0, 1.0), (0, 19)),
    ],
)
def test_a_range_is_one_of_noise_levels_as_in_comfyui(
    schedule: str, steps: int, span: tuple[float, float], active: tuple[int, int]
) -> None:
    """First and last active step, measured in ComfyUI."""
    levels = noise_levels_for(TrainedNoise())
    sigmas = build_sigmas(schedule, levels, steps)[:-1]
    control = ControlInput(torch.zeros(1, 3, 8, 8), 1.0, *span)
    found = [
        step
        for step, sigma in enumerate(sigmas)
        if control.is_active_at(StepPosition(step, steps, levels.time_share(sigma)))
    ]
    assert found == list(range(active[0], active[1] + 1))
