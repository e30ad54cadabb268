"""Trains the UNet2DConditionModel in SDXL's topology on latents of drawings, against the frozen text encoders.

The target is the noise under SDXL's betas. On latents this small the last timestep still leaks the mean colour, so the network never
learns the background from the text. Noise with an offset for each channel (Guttenberg, "Diffusion with Offset Noise", 2023) removes
the leak. Timesteps are sampled in proportion to Min-SNR weights (Hang et al., arXiv 2303.09556).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import torch
from diffusers import DDPMScheduler, EulerDiscreteScheduler, UNet2DConditionModel
from torch import Tensor

from indexd_toyworld.scene_sampling import scenes
from indexd_toyworld.train.training import Training
from indexd_toyworld.train.training_images import SdxlTextEncoders, TrainingImages, training_caption
from indexd_toyworld.train.training_parts import TrainingBudget, WeightAverage, training_device, update_running_mean
from indexd_toyworld.world import Scene

SEED = 50_515
IMAGES = 48_000
STEPS = 7_500
BATCH = 32
RATE, FURTHER_RATE = 1e-3, 7e-4
NOISE_OFFSET = 0.3
SNR_CAP = 5.0
LEAST_SHARE = 0.05
"""Sampling rate of the timestep of least weight, relative to the highest."""
SCENE_KIND_WEIGHTS = {"one thing": 2.5, "two things": 1.0, "one face": 1.0, "two faces": 0.8}
"""Sampling weights of the kinds of scenes; shapes are learned last."""
UNCONDITIONAL, EMPTY = 0.08, 0.02
"""Shares of the texts that are replaced: by zeros, which is what SDXL takes for no prompt, and by an empty prompt."""
NoisePredictor = Callable[[Tensor, Tensor, Tensor, dict[str, Tensor]], Tensor]
SIDE, LATENT_SIDE = 64, 16
SIZE_WIDTH = 32
NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
"""SDXL's noise schedule."""


def build(context_width: int, pooled_width: int) -> UNet2DConditionModel:
    """The untrained network; every GroupNorm group has at least twelve channels."""
    return UNet2DConditionModel(
        sample_size=LATENT_SIDE,
        block_out_channels=(48, 64, 96),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        transformer_layers_per_block=(1, 1, 1),
        attention_head_dim=(3, 4, 6),
        cross_attention_dim=context_width,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=SIZE_WIDTH,
        projection_class_embeddings_input_dim=pooled_width + 6 * SIZE_WIDTH,
        norm_num_groups=4,
    )


def train(build_folder: Path, weights: Path, minutes: float | None, further: bool = False) -> None:
    """Train and write the pipeline folder `weights`/sdxl, which holds the other parts, at every save. Keeps its state in
    `build_folder`. `further` continues from the network in that folder.
    """
    torch.manual_seed(SEED)
    sdxl = weights / "sdxl"
    encoders = SdxlTextEncoders(sdxl)
    widths = [model.config.hidden_size for model in encoders.models]
    unet = build(sum(widths), encoders.models[1].config.projection_dim).to(training_device())
    if further:
        unet.load_state_dict(UNet2DConditionModel.from_pretrained(sdxl / "unet", dtype=torch.float32).state_dict())
    rate = FURTHER_RATE if further else RATE
    optimizer = torch.optim.AdamW(unet.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=1e-3)
    average = WeightAverage(unet, 0.999)
    training = Training("unet", unet, optimizer, TrainingBudget(STEPS, minutes), build_folder, average)
    random = Random(SEED)
    drawn = scenes(SEED, IMAGES)
    material = TrainingImages(drawn, [training_caption(scene, random) for scene in drawn], encoders)
    loss_of = DenoisingLoss(unet_predictor(unet), encoders)
    lots = torch.tensor([SCENE_KIND_WEIGHTS[scene_kind(scene)] for scene in drawn])
    for step in training.steps(lambda: write(unet, average, sdxl)):
        numbers = torch.multinomial(lots, BATCH, generator=torch.Generator().manual_seed(SEED + step))
        loss = loss_of(material.latents(numbers), *material.conditions(numbers))
        update_running_mean(training.losses, "loss", loss)
        training.optimize(loss)


def scene_kind(scene: Scene) -> str:
    """Row of SCENE_KIND_WEIGHTS for a scene."""
    count = "one" if len(scene.things) + len(scene.faces) == 1 else "two"
    return f"{count} {'thing' if scene.things else 'face'}{'s' if count == 'two' else ''}"


def unet_predictor(unet: Any) -> NoisePredictor:
    """The UNet's prediction."""

    def predict(noisy: Tensor, times: Tensor, hidden: Tensor, added: dict[str, Tensor]) -> Tensor:
        answer: Tensor = unet(noisy, times, hidden, added_cond_kwargs=added).sample
        return answer

    return predict


class DenoisingLoss:
    """Loss of one batch: adds noise to latents; `predict` estimates it from noisy latents, timesteps, hidden states and
    additional conditions.
    """

    def __init__(self, predict: NoisePredictor, encoders: SdxlTextEncoders) -> None:
        self._predict = predict
        with torch.no_grad():
            self._empty = encoders([""])
        self._noise = DDPMScheduler(**NOISE)
        kept = self._noise.alphas_cumprod
        ratio = kept / (1 - kept)
        self._lots = (ratio.clamp(max=SNR_CAP) / ratio).clamp(min=LEAST_SHARE).to(training_device())

    def __call__(self, latents: Tensor, hidden: Tensor, pooled: Tensor) -> Tensor:
        count = len(latents)
        noise = torch.randn_like(latents) + NOISE_OFFSET * torch.randn(
            count, latents.shape[1], 1, 1, device=latents.device
        )
        times = torch.multinomial(self._lots, count, replacement=True)
        noisy = self._noise.add_noise(latents, noise, times)
        hidden, pooled = self._without_some(hidden, pooled)
        answer = self._predict(noisy, times, hidden, size_conditions(pooled))
        return (answer - noise).square().mean()

    def _without_some(self, hidden: Tensor, pooled: Tensor) -> tuple[Tensor, Tensor]:
        lot = torch.rand(len(hidden), device=hidden.device)
        gone, empty = lot < UNCONDITIONAL, (lot >= UNCONDITIONAL) & (lot < UNCONDITIONAL + EMPTY)
        pairs = zip((hidden, pooled), self._empty, strict=True)
        rows = []
        for given, nothing in pairs:
            shape = (-1, *[1] * (given.ndim - 1))
            rows.append(torch.where(empty.view(shape), nothing, given) * ~gone.view(shape))
        return rows[0], rows[1]


def size_conditions(pooled: Tensor) -> dict[str, Tensor]:
    """SDXL's size conditions for an uncropped image at its own size."""
    row = torch.tensor([SIDE, SIDE, 0, 0, SIDE, SIDE], device=pooled.device, dtype=pooled.dtype)
    return {"text_embeds": pooled, "time_ids": row.expand(len(pooled), 6)}


def write(unet: Any, average: WeightAverage, sdxl: Path) -> None:
    """Write the averaged network in half precision, the scheduler, and the pipeline's index."""
    half = build(unet.config.cross_attention_dim, unet.config.projection_class_embeddings_input_dim - 6 * SIZE_WIDTH)
    half.load_state_dict(average.weights)
    half.half().save_pretrained(sdxl / "unet")
    EulerDiscreteScheduler(**NOISE, steps_offset=1, timestep_spacing="leading").save_pretrained(sdxl / "scheduler")
    parts = {
        "vae": ("diffusers", "AutoencoderKL"),
        "text_encoder": ("transformers", "CLIPTextModel"),
        "text_encoder_2": ("transformers", "CLIPTextModelWithProjection"),
        "tokenizer": ("transformers", "CLIPTokenizer"),
        "tokenizer_2": ("transformers", "CLIPTokenizer"),
        "unet": ("diffusers", "UNet2DConditionModel"),
        "scheduler": ("diffusers", "EulerDiscreteScheduler"),
        "image_encoder": (None, None),
        "feature_extractor": (None, None),
    }
    index = {"_class_name": "StableDiffusionXLPipeline", "force_zeros_for_empty_prompt": True, **parts}
    (sdxl / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", "utf-8")
