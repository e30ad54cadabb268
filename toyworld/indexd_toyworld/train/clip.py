"""Trains one image tower against three text towers, so that all share one embedding space.

The first phase trains everything. Then SDXL's two encoders are written and frozen, because the UNet trains against them, and the
open_clip towers continue alone.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from indexd_toyworld.captions import vocabulary_words
from indexd_toyworld.train.contrastive_batches import ContrastiveBatch, bpe_ids, make_batches
from indexd_toyworld.train.labels import MISSING, SCENE_LABELS, answer_labels
from indexd_toyworld.train.towers import (
    Towers,
    contrastive_loss,
    init_token_vectors,
    new_towers,
    read_clip_h,
    read_encoders,
    supervised_contrastive_loss,
    write_clip_h,
    write_encoders,
    zero_shot_loss,
)
from indexd_toyworld.train.training import Training
from indexd_toyworld.train.training_parts import TrainingBudget, WeightAverage, training_device, update_running_mean

SEED = 64_077
STEPS = 3_200
RATE, FURTHER_RATE = 2e-3, 1e-3
FROZEN_AT = 0.4
"""Share of the time after which SDXL's encoders are frozen."""
IMAGE_HEADS, TEXT_HEADS, CROPS, QUESTIONS = 3.0, 0.4, 0.5, 0.5
"""Weights of the attribute heads, of the crops and of the zero-shot questions beside the contrastive loss. With weak
heads on the images shapes and expressions were still at chance after 700 steps. Without the questions a linear probe
told 94 % of the held-out shapes from the images' vectors, and the words for them only 78 %."""
WRITTEN = "encoders-written"
"""Marker in the build folder: SDXL's encoders are written."""


def train(build: Path, weights: Path, minutes: float | None, further: bool = False) -> None:
    """Train and write `weights`/clip_h and `weights`/sdxl/text_encoder, _2 and tokenizers; keeps its state in `build`.

    `further` continues from the towers in `weights` and leaves SDXL's encoders unchanged.
    """
    torch.manual_seed(SEED)
    towers = new_towers()
    init_token_vectors(towers, sorted({piece for word in [*vocabulary_words(), ","] for piece in bpe_ids(word)}))
    written = build / WRITTEN
    if further:
        read_clip_h(towers, weights / "clip_h")
        read_encoders(towers, weights / "sdxl")
        written.touch()
    towers.to(training_device())
    rate = FURTHER_RATE if further else RATE
    optimizer = torch.optim.AdamW(_parameter_groups(towers), lr=rate, betas=(0.9, 0.98))
    average = WeightAverage(towers, 0.997)
    training = Training("clip", towers, optimizer, TrainingBudget(STEPS, minutes), build, average)

    def write() -> None:
        with average.in_place():
            write_clip_h(towers, weights / "clip_h")

    supply = make_batches(SEED, training.budget.done)
    for _ in training.steps(write):
        if not written.exists() and training.budget.fraction >= FROZEN_AT:
            _freeze(towers, average, weights / "sdxl")
            training.save()
            written.touch()
        training.optimize(_loss(towers, next(supply), not written.exists(), training.losses))


def _freeze(towers: Towers, average: WeightAverage, sdxl: Path) -> None:
    """Write the averaged encoders, and load them into the towers."""
    with average.in_place():
        write_encoders(towers, sdxl)
    for name, weight in towers.state_dict().items():
        if name.startswith(("l.", "g.")):
            weight.copy_(average.weights[name])


def _parameter_groups(towers: Towers) -> list[dict[str, object]]:
    """No weight decay for vectors, biases and tables."""
    flat = [(name, weight) for name, weight in towers.named_parameters()]
    free = [weight for name, weight in flat if weight.ndim < 2 or "embedding" in name]
    drawn = [weight for name, weight in flat if weight.ndim >= 2 and "embedding" not in name]
    return [{"params": drawn, "weight_decay": 0.02}, {"params": free, "weight_decay": 0.0}]


def _loss(towers: Towers, batch: ContrastiveBatch, encoders: bool, told: dict[str, float]) -> Tensor:
    """The complete loss; without `encoders` it excludes SDXL's."""
    where = training_device()
    given = batch.labels.to(where)
    both = towers.images(torch.cat([batch.images, batch.crops]).to(where))
    images, crops = both.split([len(batch.images), len(batch.crops)])
    said = given[:, : len(SCENE_LABELS)].masked_fill(~batch.full[:, None].to(where), MISSING)
    vectors = towers.h_texts(batch.bpe_ids.to(where))
    matching = contrastive_loss(images, vectors, towers.scales[0])
    update_running_mean(told, "h", matching)
    heads = towers.image_heads(images, given)
    update_running_mean(told, "image heads", heads)
    heads = IMAGE_HEADS * heads + TEXT_HEADS * towers.text_heads["h"](vectors, said)
    if encoders:
        ids = batch.word_ids.to(where)
        for place, (name, texts) in enumerate((("l", towers.l_texts), ("g", towers.g_texts)), start=1):
            pooled, state = texts(ids)
            projection = towers.l_projection if name == "l" else towers.g_projection
            own = contrastive_loss(images, projection(pooled), towers.scales[place])
            update_running_mean(told, name, own)
            matching = matching + 0.5 * own
            reading = towers.state_heads[name](state, said)
            update_running_mean(told, f"{name} state", reading)
            heads = heads + TEXT_HEADS * (towers.text_heads[name](pooled, said) + reading)
    faces = supervised_contrastive_loss(crops, batch.people.to(where))
    update_running_mean(told, "crops", faces)
    looks = towers.crop_heads(crops, batch.looks.to(where))
    return matching + heads + CROPS * (faces + 0.3 * looks) + QUESTIONS * _zero_shot_loss(towers, images, batch, told)


def _zero_shot_loss(towers: Towers, images: Tensor, batch: ContrastiveBatch, told: dict[str, float]) -> Tensor:
    """Sum over the kinds of questions."""
    where = training_device()
    losses = []
    for kind, ids in batch.questions.items():
        answers = towers.h_texts(ids.flatten(0, 1).to(where)).unflatten(0, ids.shape[:2])
        right = answer_labels(batch.labels, kind).to(where)
        losses.append(zero_shot_loss(images, answers, right, towers.scales[0]))
        update_running_mean(told, kind, losses[-1])
    return torch.stack(losses).sum()
