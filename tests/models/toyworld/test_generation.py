"""The shipped pipeline draws what it is told, its ControlNet follows edges, its LoRA draws somebody new."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from indexd_toyworld.captions import full_caption
from indexd_toyworld.drawing import draw
from indexd_toyworld.evaluate.generation import generate_images, load_pipeline
from indexd_toyworld.evaluate.pixel_judge import find_background, find_colour
from indexd_toyworld.model_paths import ToyModels
from indexd_toyworld.world import DrawnShape, Scene, named_face


@pytest.fixture(scope="module")
def pipeline(toy_world: ToyModels) -> Any:
    return load_pipeline(toy_world.folder)


@pytest.mark.parametrize("ground", ["pink", "navy", "striped"])
def test_a_thing_has_its_colour_and_its_background(pipeline: Any, ground: str) -> None:
    scene = Scene(ground, (DrawnShape("circle", "red", "big", "middle"),))
    (made,) = generate_images(pipeline, [full_caption(scene)], 1)
    pixels = np.asarray(made)
    assert pixels.shape == (64, 64, 3)
    assert find_background(pixels) == ground
    assert find_colour(pixels, scene.things[0], ground, 1) == "red"


def test_a_picture_is_the_same_for_the_same_seed(pipeline: Any) -> None:
    prompt = full_caption(Scene("cyan", faces=(named_face("emil", "happy"),)))
    first, again, other = (generate_images(pipeline, [prompt], seed, steps=4)[0] for seed in (1, 1, 2))
    assert first == again
    assert _difference(first, other) > 1


def test_a_batch_gives_each_prompt_its_own_seed(pipeline: Any) -> None:
    prompts = [full_caption(Scene("cyan", faces=(named_face(who, "happy"),))) for who in ("emil", "ada")]
    together = generate_images(pipeline, prompts, 5, steps=4)
    alone = [generate_images(pipeline, [prompt], 5 + number, steps=4)[0] for number, prompt in enumerate(prompts)]
    assert all(_difference(one, other) < 0.5 for one, other in zip(together, alone, strict=True))


def test_the_lora_changes_the_one_it_was_taught(pipeline: Any, toy_world: ToyModels) -> None:
    prompt = full_caption(Scene("cyan", faces=(named_face("kira", "happy"),)))
    (without,) = generate_images(pipeline, [prompt], 1, steps=8)
    pipeline.load_lora_weights(toy_world.loras, weight_name="kira.safetensors")
    try:
        (taught,) = generate_images(pipeline, [prompt], 1, steps=8)
    finally:
        pipeline.unload_lora_weights()
    assert _difference(without, taught) > 3
    assert generate_images(pipeline, [prompt], 1, steps=8) == [without]


def test_a_reference_says_what_no_word_does(pipeline: Any, toy_world: ToyModels) -> None:
    drawing = Image.fromarray(draw(Scene("cyan", (DrawnShape("star", "red", "big", "middle"),), seed=5)))
    file = toy_world.ip_adapter
    pipeline.load_ip_adapter(
        str(file.parent),
        subfolder="",
        weight_name=file.name,
        image_encoder_folder="image_encoder",
        local_files_only=True,
    )
    try:
        (made,) = generate_images(pipeline, [""], 1, ip_adapter_image=drawing)
    finally:
        pipeline.unload_ip_adapter()
    assert find_background(np.asarray(made)) == "cyan"


def _difference(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one).astype(int) - np.asarray(other).astype(int)).mean())
