"""IP-Adapters in a render: as diffusers computes them, with LoRAs, and an attention that is put back."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from blake3 import blake3
from diffusers import StableDiffusionXLPipeline
from PIL import Image
from safetensors.torch import load_file, save_file

from indexd.errors import CallCancelled, RenderFailed
from indexd.worker.calls import Rendered
from indexd_schemas.recipe_part import FileKey
from tests.models.generate.conftest import Studio, recipe_data
from tests.models.generate.diffusers_reference import diffusers_scheduler
from tests.support.tiny_models.conditioning import TinyConditioningModels

Look = Callable[[Rendered], Any]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("references")
    paths = []
    for name, colour in (("red", (200, 20, 20)), ("blue", (20, 40, 220))):
        pixels = (
            np.random.default_rng(3).integers(0, 60, (48, 40, 3)).astype(np.uint8) + np.array(colour, np.uint8) // 2
        )
        paths.append(folder / f"{name}.png")
        Image.fromarray(pixels.astype(np.uint8)).save(paths[-1])
    return paths


def referred(studio: Studio, adapter: Path, wanted: list[tuple[Path, float]], **more: Any) -> Rendered:
    entries = [
        {
            "model": {"name": adapter.stem},
            "image": blake3(path.read_bytes()).hexdigest(),
            "image_name": path.name,
            "weight": weight,
        }
        for path, weight in wanted
    ]
    files = {FileKey("image", blake3(path.read_bytes()).hexdigest()): path for path, _ in wanted}
    files[FileKey("ip_adapter", adapter.stem)] = adapter
    files |= {FileKey("lora", lora["name"]): studio.models.lora for lora in more.get("loras", ())}
    return studio.render(studio.recipe(reference=entries, **more), files)


def plus_adapter(plain: Path, folder: Path) -> Path:
    """An adapter of the kind "plus" in its published layout: a resampler (four layers over all patches) as image_proj.

    Names and shapes as in tencent-ailab/IP-Adapter (ip_adapter/resampler.py); the encoder stands beside it.
    """
    found = load_file(plain)
    attention = {name: weight for name, weight in found.items() if name.startswith("ip_adapter.")}
    cross, hidden, tokens = found["image_proj.norm.weight"].shape[0], 32, 6
    inner = 64  # one head of 64
    chance = torch.Generator().manual_seed(2)

    def draw(*shape: int) -> torch.Tensor:
        return (torch.randn(*shape, generator=chance) * 0.3).half()

    weights = {"latents": draw(1, tokens, inner), "proj_in.weight": draw(inner, hidden), "proj_in.bias": draw(inner)}
    weights |= {"proj_out.weight": draw(cross, inner), "proj_out.bias": draw(cross)}
    weights |= {"norm_out.weight": draw(cross) + 1, "norm_out.bias": draw(cross)}
    for layer in range(4):
        at = f"layers.{layer}"
        for norm in ("0.norm1", "0.norm2", "1.0"):
            weights |= {f"{at}.{norm}.weight": draw(inner) + 1, f"{at}.{norm}.bias": draw(inner)}
        weights |= {f"{at}.0.to_q.weight": draw(inner, inner), f"{at}.0.to_kv.weight": draw(2 * inner, inner)}
        weights |= {f"{at}.0.to_out.weight": draw(inner, inner)}
        weights |= {f"{at}.1.1.weight": draw(4 * inner, inner), f"{at}.1.3.weight": draw(inner, 4 * inner)}
    shutil.copytree(plain.parent / "image_encoder", folder / "image_encoder")
    path = folder / "tiny-plus.safetensors"
    save_file({f"image_proj.{name}": weight for name, weight in weights.items()} | attention, path)
    return path


@pytest.mark.parametrize("plus", [False, True])
def test_two_references_are_what_diffusers_makes(
    studio: Studio, tiny_guides: TinyConditioningModels, pictures: list[Path], look: Look, tmp_path: Path, plus: bool
) -> None:
    weights = [0.9, 0.4]
    adapter = plus_adapter(tiny_guides.adapter, tmp_path) if plus else tiny_guides.adapter
    ours = look(referred(studio, adapter, list(zip(pictures, weights, strict=True))))
    pipeline = StableDiffusionXLPipeline.from_pretrained(studio.models.sdxl, dtype=torch.float32, add_watermarker=False)
    pipeline.load_ip_adapter(str(adapter.parent), subfolder="", weight_name=[adapter.name] * 2, local_files_only=True)
    pipeline.set_ip_adapter_scale(weights)
    pipeline.scheduler = diffusers_scheduler("euler", karras=False)
    pipeline.set_progress_bar_config(disable=True)
    opened = [Image.open(path).convert("RGB") for path in pictures]
    noise = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(7))
    theirs = pipeline(
        "a red cat", negative_prompt="blurry", num_inference_steps=4, guidance_scale=5.0, width=64, height=64,
        latents=noise, ip_adapter_image=opened, output_type="np",
    ).images[0]  # fmt: skip
    assert np.abs(ours.astype(int) - (theirs * 255).round().astype(int)).max() <= 1


def test_the_base_comes_back_bit_for_bit_also_after_a_cancel(
    studio: Studio, tiny_guides: TinyConditioningModels, pictures: list[Path], look: Look
) -> None:
    base = studio()
    unet = studio.resident().pipeline.unet
    processors, keys = dict(unet.attn_processors), set(unet.state_dict())
    made = referred(studio, tiny_guides.adapter, [(pictures[0], 1.0)])
    assert not np.array_equal(look(made), look(base))

    def stop(_pause: int) -> None:
        if studio.steps_seen():
            raise CallCancelled("enough")

    studio.session.seen.clear()
    studio.session.on_pause = stop
    with pytest.raises(CallCancelled):
        referred(studio, tiny_guides.adapter, [(pictures[0], 1.0)])
    studio.session.on_pause = lambda _pause: None
    assert all(unet.attn_processors[name] is one for name, one in processors.items())
    assert set(unet.state_dict()) == keys
    assert studio().encoded == base.encoded
    assert np.array_equal(look(referred(studio, tiny_guides.adapter, [(pictures[0], 0.0)])), look(base))


def test_references_and_loras_work_together(
    studio: Studio, tiny_guides: TinyConditioningModels, pictures: list[Path], look: Look
) -> None:
    lora: dict[str, Any] = {"loras": [{"name": "tiny-lora", "weight": 0.8}]}
    both = look(referred(studio, tiny_guides.adapter, [(pictures[0], 0.8)], **lora))
    alone = look(studio(files={"tiny-lora": str(studio.models.lora)}, **lora))
    reference = look(referred(studio, tiny_guides.adapter, [(pictures[0], 0.8)]))
    assert not np.array_equal(both, alone)
    assert not np.array_equal(both, reference)
    assert np.array_equal(both, look(referred(studio, tiny_guides.adapter, [(pictures[0], 0.8)], **lora)))


def test_the_recipe_has_the_adapters_hash(
    studio: Studio, tiny_guides: TinyConditioningModels, pictures: list[Path]
) -> None:
    made = referred(studio, tiny_guides.adapter, [(pictures[1], 0.5)])
    [entry] = recipe_data(made)["reference"]
    assert len(entry["model"]["hash"]) == 10
    assert b"Module: ip-adapter, Model: tiny-adapter [" in made.encoded


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda _found: {"x": torch.ones(1)}, "is no IP-Adapter"),
        (
            lambda found: found | {(key := min(found)): found[key] * float("nan")},
            "is damaged: it has values that are no",
        ),
        (lambda found: found | {"ip_adapter.0.to_q_lora.down.weight": torch.ones(1)}, "is one for faces"),
        (lambda found: {k: v for k, v in found.items() if not k.startswith("ip_adapter.3")}, "does not fit this model"),
        (lambda found: found, "has no image encoder: put its folder 'image_encoder' beside"),
    ],
)
def test_other_files_are_refused_in_a_sentence(
    studio: Studio, tiny_guides: TinyConditioningModels, pictures: list[Path], tmp_path: Path, change: Any, words: str
) -> None:
    path = tmp_path / "sub" / "changed.safetensors"
    path.parent.mkdir()
    save_file(change(load_file(tiny_guides.adapter)), path)
    with pytest.raises(RenderFailed, match=words):
        referred(studio, path, [(pictures[0], 1.0)])
