"""A second model family, written here in one file, renders through the same path as SDXL."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from indexd.errors import RenderFailed
from indexd.generate import family as registry
from indexd.generate.adapters.lora_adapters import ActivatedLoras
from indexd.generate.diffusion.conditioning import StepConditioning, TextConditioning
from indexd.generate.diffusion.guidance import ModelHook, TileableModel, combine_guidance
from indexd.generate.family import PromptEmbeddings, RenderModel, detect_family, families, register_family
from indexd.generate.sampling.noise_levels import FloatArray
from indexd.generate.sampling.step_position import StepPosition
from indexd.prompts.step_prompts import PromptScript
from indexd.worker.calls import WorkerSettings
from indexd_schemas.recipe import PromptSyntax
from indexd_schemas.recipe_part import FileKey
from tests.models.generate.conftest import recipe_data

COLOURS = {"red": (1.0, -1.0, -1.0), "green": (-1.0, 1.0, -1.0), "grey": (0.0, 0.0, 0.0)}


class FlowLevels:
    """A model trained on straight paths, `(1 - t) clean + t noise`, which takes t as its time step and predicts noise - clean.

    In samplers' terms the level is sigma = t / (1 - t), and the model's latents are theirs divided by 1 + sigma.
    """

    def __init__(self) -> None:
        times = np.linspace(0.02, 0.98, 200)
        self.sigmas: FloatArray = times / (1 - times)

    @property
    def sigma_min(self) -> float:
        return float(self.sigmas[0])

    @property
    def sigma_max(self) -> float:
        return float(self.sigmas[-1])

    def timestep(self, sigma: float) -> float:
        return sigma / (1 + sigma)

    def trained_timestep(self, sigma: float) -> float:
        return self.timestep(sigma)

    def sigma_at_share(self, share: float) -> float:
        time = 0.98 - share * 0.96
        return time / (1 - time)

    def time_share(self, sigma: float) -> float:
        return (0.98 - self.timestep(sigma)) / 0.96

    def scale_input(self, latents: torch.Tensor, sigma: float) -> torch.Tensor:
        return latents / (1 + sigma)

    def predict_clean(self, output: torch.Tensor, latents: torch.Tensor, sigma: float) -> torch.Tensor:
        time = sigma / (1 + sigma)
        return latents / (1 + sigma) - time * output


@dataclass(frozen=True)
class PaletteDenoiser:
    """The exact flow model for images of one colour: whatever the noise, the clean latents are the colour of the text."""

    conditioning: TextConditioning
    cfg: float
    rescale: float

    def with_negative(
        self, latents: torch.Tensor, timestep: torch.Tensor, position: StepPosition
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        texts = self.conditioning.at_step(position)

        def velocity(colour: torch.Tensor) -> torch.Tensor:
            return (latents - colour) / timestep

        negative = None if texts.negative is None else velocity(texts.negative)
        positive = [velocity(colour) for colour, _weight in texts.positive]
        return combine_guidance(texts, positive, negative, cfg=self.cfg, rescale=self.rescale), negative

    def for_part(
        self, conditioning: TextConditioning, size: tuple[int, int], hooks: Sequence[ModelHook]
    ) -> PaletteDenoiser:
        del size, hooks
        return PaletteDenoiser(conditioning, self.cfg, self.rescale)


class NoLoras:
    def activate(self, requests: Sequence[Any]) -> ActivatedLoras:
        if requests:
            raise RenderFailed(f"LoRA {requests[0].name}: models of family palette take none")
        return ActivatedLoras({})


class PaletteModel(RenderModel):
    """Three channels, four pixels a latent, no VAE: a latent is a colour."""

    family = "palette"
    latent_channels = 3
    pixels_per_latent = 4
    latent_dtype = torch.float32
    dtype_name = "float32"

    def __init__(self, device: torch.device, model_hash: str) -> None:
        self.device, self.model_hash = device, model_hash
        self.levels, self.loras = FlowLevels(), NoLoras()

    def encode_prompts(
        self,
        prompt: str,
        negative: str,
        *,
        guided: bool,
        clip_skip: int | None,
        syntax: PromptSyntax,
        embeddings: PromptEmbeddings | None,
    ) -> TextConditioning:
        del clip_skip, embeddings

        def colour(text: str) -> torch.Tensor:
            named = next((value for name, value in COLOURS.items() if name in text), COLOURS["grey"])
            return torch.tensor(named).view(1, 3, 1, 1)

        return TextConditioning(
            PromptScript(prompt, negative, syntax),
            lambda step: StepConditioning(
                tuple((colour(part.text), part.weight) for part in step.positive),
                colour(step.negative) if guided else None,
            ),
        )

    def denoiser(
        self,
        conditioning: TextConditioning,
        *,
        cfg: float,
        cfg_rescale: float,
        size: tuple[int, int],
        hooks: Sequence[ModelHook],
    ) -> TileableModel:
        del size, hooks
        return PaletteDenoiser(conditioning, cfg, cfg_rescale)

    def encode_image(self, image: Image.Image, rng: torch.Generator) -> torch.Tensor:
        del rng
        pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
        return torch.nn.functional.avg_pool2d(pixels, self.pixels_per_latent)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return latents.repeat_interleave(self.pixels_per_latent, -1).repeat_interleave(self.pixels_per_latent, -2)


class PaletteFamily:
    name = "palette"

    def detect(self, path: Path) -> bool:
        return path.suffix == ".palette"

    def load(self, path: Path, device: torch.device, dtype_name: str, settings: WorkerSettings) -> RenderModel:
        del dtype_name, settings
        return PaletteModel(device, json.loads(path.read_text("utf-8"))["hash"])


@pytest.fixture
def palette(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A checkpoint of the family, which is known while the test runs."""
    monkeypatch.setattr(registry, "_FAMILIES", dict(families()))
    register_family(PaletteFamily())
    path = tmp_path / "colours.palette"
    path.write_text('{"hash": "0123456789"}', "utf-8")
    yield path


def test_a_second_family_renders_through_the_same_path(fresh_studio: Any, look: Any, palette: Path) -> None:
    made = fresh_studio(checkpoint=palette, prompt="a red wall", negative_prompt="", cfg=1.0, sampler="dpmpp_2m")
    assert np.abs(look(made).astype(int) - (255, 0, 0)).max() <= 1
    recipe = made.recipe
    assert (recipe.family, recipe.dtype, recipe.model and recipe.model.hash) == ("palette", "float32", "0123456789")
    assert fresh_studio(checkpoint=palette, **recipe_data(made)).encoded == made.encoded
    assert fresh_studio.steps_seen()[:4] == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_guidance_step_prompts_and_later_passes_work_for_it(fresh_studio: Any, look: Any, palette: Path) -> None:
    second = {"width": 96, "height": 96, "upscaler": "latent", "denoise": 0.5, "prompt": "green"}
    tiles = {"denoise": 0.4, "tile": 64, "overlap": 16, "prompt": "grey"}
    switching = {"prompt": "[red:green:2]", "prompt_syntax": "a1111", "negative_prompt": "grey", "cfg": 2.0, "steps": 6}
    guided = fresh_studio(checkpoint=palette, **switching)
    assert np.abs(look(guided).astype(int) - (0, 255, 0)).max() <= 1
    hires = fresh_studio(checkpoint=palette, prompt="red", cfg=1.0, hires=second)
    assert look(hires).shape == (96, 96, 3)
    assert np.abs(look(hires).astype(int) - (0, 255, 0)).max() <= 1
    refined = fresh_studio(checkpoint=palette, prompt="red", cfg=1.0, width=128, refine=tiles)
    assert np.abs(look(refined).astype(int) - 127).max() <= 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"family": "sdxl"}, "is a model of family palette, and the recipe was made with sdxl"),
        ({"embeddings": [{"name": "glow", "hash": "0"}]}, "embedding glow: models of family palette take none"),
    ],
)
def test_what_it_cannot_do_is_refused(fresh_studio: Any, palette: Path, fields: dict[str, Any], words: str) -> None:
    files = {FileKey("embedding", "glow"): Path("glow.safetensors")}
    with pytest.raises(RenderFailed, match=words):
        fresh_studio.render(fresh_studio.recipe(**fields), files, palette)


def test_sdxl_is_found_by_its_folder_and_a_name_is_given_once() -> None:
    assert "sdxl" in families()
    with pytest.raises(ValueError, match="two model families 'sdxl'"):
        register_family(families()["sdxl"])


def test_a_checkpoint_is_recognised_by_what_is_in_it(tiny_models: Any, palette: Path, tmp_path: Path) -> None:
    assert detect_family(palette).name == "palette"
    assert families()["sdxl"].detect(tiny_models.sdxl)
    assert families()["sdxl"].detect(tiny_models.single_file)
    (tmp_path / "empty.safetensors").write_bytes(b"")
    for other in (palette, tmp_path, tmp_path / "empty.safetensors", tmp_path / "missing.safetensors"):
        assert not families()["sdxl"].detect(other)
