"""What the diffusion models are trained on and how: latents, loss, ControlNet, IP-Adapter, both forms of the LoRA."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

from indexd.generate.adapters.lora_file import read_lora
from indexd.generate.sdxl.lora_targets import find_lora_targets
from indexd_toyworld.drawing import draw
from indexd_toyworld.scene_sampling import scenes
from indexd_toyworld.train import controlnet, ip_adapter, lora, unet, vae
from indexd_toyworld.train.training_images import LazyRows
from indexd_toyworld.world import DrawnShape, Scene

CONTEXT, POOLED = 24, 16


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(1)
    return unet.build(CONTEXT, POOLED).eval()


def test_latents_are_the_mean_colours_and_the_tilt_of_each_four_by_four_pixels() -> None:
    pixels = torch.full((1, 3, 64, 64), -1.0)
    pixels[:, 0, :2] = 1.0
    latents = vae.latents_of(pixels)
    assert latents.shape == (1, 4, 16, 16)
    assert latents[0, :, 0, 0].tolist() == pytest.approx([0.0, -1.0, -1.0, vae.TILT * 2 / 3])
    assert latents[0, :, 1, 0].tolist() == pytest.approx([-1.0, -1.0, -1.0, 0.0])


def test_scaled_latents_of_drawings_have_unit_spread() -> None:
    pictures = torch.from_numpy(np.stack([draw(scene) for scene in scenes(5, 100)])).permute(0, 3, 1, 2)
    assert float((vae.SCALING * vae.latents_of(vae.as_input(pictures))).std()) == pytest.approx(1.0, abs=0.1)


def test_the_vae_has_the_shapes_of_its_latents_and_the_spread_it_is_told() -> None:
    network = vae.build()
    pixels = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        latents = network.encode(pixels).latent_dist
        back = network.decode(latents.mean).sample
    assert latents.mean.shape == (1, 4, 16, 16)
    assert back.shape == pixels.shape
    assert network.config.scaling_factor == vae.SCALING


def test_rows_are_computed_once() -> None:
    asked: list[list[int]] = []

    def compute(numbers: torch.Tensor) -> torch.Tensor:
        asked.append(numbers.tolist())
        return numbers[:, None].float() * 2

    rows = LazyRows(5, compute)
    assert rows[torch.tensor([3, 1, 3])].tolist() == [[6.0], [2.0], [6.0]]
    assert rows[torch.tensor([1, 4])].tolist() == [[2.0], [8.0]]
    assert asked == [[1, 3], [4]]


def test_who_says_the_noise_exactly_has_no_loss() -> None:
    kept = torch.from_numpy(np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)).float()

    def exact(noisy: torch.Tensor, times: torch.Tensor, *_: object) -> torch.Tensor:
        return noisy / (1 - kept[times]).sqrt().view(-1, 1, 1, 1)

    loss_of = unet.DenoisingLoss(exact, _no_text)  # type: ignore[arg-type]
    given = torch.zeros(8, 4, 16, 16), torch.zeros(8, 77, CONTEXT), torch.zeros(8, POOLED)
    assert float(loss_of(*given)) == pytest.approx(0.0, abs=1e-6)


def test_some_texts_are_replaced_by_zeros_and_some_by_the_empty_prompt() -> None:
    seen: list[torch.Tensor] = []

    def look(noisy: torch.Tensor, _times: torch.Tensor, hidden: torch.Tensor, _added: object) -> torch.Tensor:
        seen.append(hidden[:, 0, 0])
        return torch.zeros_like(noisy)

    torch.manual_seed(3)
    count = 2000
    unet.DenoisingLoss(look, _no_text)(  # type: ignore[arg-type]
        torch.zeros(count, 4, 1, 1), torch.full((count, 77, CONTEXT), 5.0), torch.full((count, POOLED), 5.0)
    )
    shares = {value: float((seen[0] == value).float().mean()) for value in (0.0, 7.0, 5.0)}
    assert shares[0.0] == pytest.approx(unet.UNCONDITIONAL, abs=0.02)
    assert shares[7.0] == pytest.approx(unet.EMPTY, abs=0.01)
    assert sum(shares.values()) == pytest.approx(1.0)


def test_an_untrained_controlnet_changes_nothing(network: torch.nn.Module) -> None:
    beside = controlnet.build_controlnet(network).eval()
    given = torch.randn(2, 4, 16, 16), torch.tensor([10, 900]), torch.randn(2, 77, CONTEXT)
    added = unet.size_conditions(torch.randn(2, POOLED))
    hint = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        alone = unet.unet_predictor(network)(*given, added)
        both = controlnet.controlnet_predictor(network, beside, hint)(*given, added)
    assert torch.equal(alone, both)


def test_a_written_ip_adapter_is_read_as_what_was_learnt(network: torch.nn.Module, tmp_path: Path) -> None:
    torch.manual_seed(4)
    parts, learnt, read = ip_adapter.IpAdapterParts(network), deepcopy(network), deepcopy(network)
    ip_adapter.install(learnt, parts)
    ip_adapter.write(parts, tmp_path / "adapter.safetensors")
    halves: dict[str, dict[str, torch.Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for name, weight in load_file(tmp_path / "adapter.safetensors").items():
        half, _, rest = name.partition(".")
        halves[half][rest] = weight.float()
    read._load_ip_adapter_weights([halves])
    encoder = CLIPVisionModelWithProjection.from_pretrained(tmp_path / "image_encoder", dtype=torch.float32)
    pixels = CLIPImageProcessor(size=64, crop_size=64)(_drawing(), return_tensors="pt").pixel_values
    given = torch.randn(1, 4, 16, 16), torch.tensor([500]), torch.randn(1, 77, CONTEXT)
    added = unet.size_conditions(torch.randn(1, POOLED))
    with torch.no_grad():
        vectors = parts.float().vectors(torch.from_numpy(np.array(_drawing())).permute(2, 0, 1)[None])
        ours = ip_adapter.guided_by_images(learnt, vectors)(*given, added)
        theirs = ip_adapter.guided_by_images(read, encoder(pixels).image_embeds)(*given, added)
        without = unet.unet_predictor(network)(*given, added)
    assert float((ours - theirs).abs().max()) < 1e-2 * float((ours - without).abs().max())


def _drawing() -> Image.Image:
    return Image.fromarray(draw(Scene("gray", (DrawnShape("star", "red", "big", "middle"),), seed=4)))


def test_edges_lie_on_the_rim_of_a_shape() -> None:
    found = controlnet.edges(draw(Scene("gray", (DrawnShape("square", "red", "big", "middle"),), seed=4)))
    assert found.shape == (64, 64, 3)
    assert set(np.unique(found)) == {0, 255}
    assert 60 < (found[:, :, 0] > 0).sum() < 400
    assert not found[:6].any()


def test_twenty_flawless_pictures_teach_the_character() -> None:
    taught = lora.character_scenes()
    assert len(taught) == lora.IMAGES
    assert {scene.faces[0].who for scene in taught} == {lora.WHO}
    assert not any(scene.flaw for scene in taught)


def test_both_forms_of_the_lora_are_the_same_to_indexd(network: torch.nn.Module, tmp_path: Path) -> None:
    pipeline = SimpleNamespace(unet=network, text_encoder=torch.nn.Module(), text_encoder_2=torch.nn.Module())
    pipeline.text_encoder.config = pipeline.text_encoder_2.config = None
    known = find_lora_targets(pipeline)
    taught = unet.build(CONTEXT, POOLED)
    lora.add_matrices(taught)
    lora.write(taught, tmp_path)
    first, second = (
        read_lora(tmp_path / name, name, known).matrices for name in (lora.DIFFUSERS_NAME, lora.KOHYA_NAME)
    )
    assert first.keys() == second.keys()
    assert len(first) > 30
    assert all(torch.equal(first[key].down, second[key].down) for key in first)
    assert all(torch.equal(first[key].up, second[key].up) for key in first)


def _no_text(texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """An encoder for the empty prompt alone."""
    assert texts == [""]
    return torch.full((1, 77, CONTEXT), 7.0), torch.full((1, POOLED), 7.0)
