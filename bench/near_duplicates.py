"""Copies told from variations: images rendered by the toy world, their copies, and their neighbours in the recipe."""

from __future__ import annotations

import copy
import io
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionXLImg2ImgPipeline
from PIL import Image

from bench.perceptual_hash import are_rows_near, hashes
from bench.support.report import print_result
from bench.support.synthetic_images import crop_edges, encode, rescale
from indexd.images.copy_comparison import are_copies
from indexd_toyworld.captions import full_caption
from indexd_toyworld.evaluate.generation import GUIDANCE, STEPS, generate_images, held_out_scenes, load_pipeline
from indexd_toyworld.model_paths import SHIPPED_WEIGHTS
from indexd_toyworld.world import BACKGROUNDS, COLOURS, EXPRESSIONS, SHAPES

SCENES = 100
Change = Callable[[Image.Image], Image.Image | bytes]

LOSSY_COPIES: Mapping[str, Change] = {
    **{f"JPEG {quality}": partial(encode, kind="JPEG", quality=quality) for quality in (60, 75, 85, 95)},
    **{f"WebP {quality}": partial(encode, kind="WEBP", quality=quality) for quality in (60, 80)},
    **{f"AVIF {quality}": partial(encode, kind="AVIF", quality=quality) for quality in (50, 70)},
    "200 %, JPEG 75": lambda one: encode(rescale(one, 2.0), "JPEG", 75),
    "cropped by 5 %, JPEG 85": lambda one: encode(crop_edges(one, 0.05), "JPEG", 85),
}
LOSSLESS_COPIES: Mapping[str, Change] = {
    "50 %": lambda one: rescale(one, 0.5),
    "200 %": lambda one: rescale(one, 2.0),
    "cropped by 3 %": lambda one: crop_edges(one, 0.03),
    "cropped by 5 %": lambda one: crop_edges(one, 0.05),
    "cropped by 10 %": lambda one: crop_edges(one, 0.1),
}
WITHOUT_RECIPE: Mapping[str, Change] = {
    **{f"JPEG {quality}": partial(encode, kind="JPEG", quality=quality) for quality in (60, 75, 90, 95)},
    "WebP 80": partial(encode, kind="WEBP", quality=80),
}
_WORDS = (BACKGROUNDS, COLOURS, EXPRESSIONS, SHAPES)


def one_word_changed(prompt: str) -> str:
    """The prompt with its first word of the toy world replaced by the next of its kind."""
    words = prompt.split(" ")
    for place, word in enumerate(words):
        for kind in _WORDS:
            names = list(kind)
            if (name := word.strip(",.")) in names:
                words[place] = word.replace(name, names[(names.index(name) + 1) % len(names)])
                return " ".join(words)
    return f"{prompt} small"


def render_variations(pipeline: Any, prompts: Sequence[str]) -> tuple[list[Image.Image], dict[str, list[Image.Image]]]:
    """The images of the prompts, and those with one thing changed."""
    original = generate_images(pipeline, prompts, 0)
    found = {
        "one word": generate_images(pipeline, [one_word_changed(prompt) for prompt in prompts], 0),
        "one step": generate_images(pipeline, prompts, 0, steps=STEPS + 1),
        "one cfg": generate_images(pipeline, prompts, 0, guidance_scale=GUIDANCE + 1),
    }
    own = pipeline.vae
    pipeline.vae = _other_vae(own)
    found["VAE"] = generate_images(pipeline, prompts, 0)
    pipeline.vae = own
    again = StableDiffusionXLImg2ImgPipeline(**pipeline.components, add_watermarker=False)
    again.set_progress_bar_config(disable=True)
    found["2 % denoise"] = [
        again(
            prompt, image=image, strength=0.02, num_inference_steps=50, generator=torch.Generator().manual_seed(place)
        ).images[0]
        for place, (prompt, image) in enumerate(zip(prompts, original, strict=True))
    ]
    return original, found


def _other_vae(own: Any) -> Any:
    """A VAE whose decoder has weights that differ by one percent, as a fine-tuned one has."""
    other, chance = copy.deepcopy(own), torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weights in other.decoder.parameters():
            weights.mul_(1 + 0.01 * torch.randn(weights.shape, generator=chance))
    return other


def _pixels(image: Image.Image | bytes) -> Image.Image:
    return image if isinstance(image, Image.Image) else Image.open(io.BytesIO(image)).convert("RGB")


def measure(original: list[Image.Image], variations: dict[str, list[Image.Image]]) -> None:
    """Print the share of copies found, and of variations called copies."""
    own = hashes(original)
    share: list[float] = []
    seconds, compared = 0.0, 0
    for lossless, methods in ((False, LOSSY_COPIES), (True, LOSSLESS_COPIES)):
        for name, change in methods.items():
            copies = [change(one) for one in original]
            proposed = are_rows_near(own, hashes([_pixels(one) for one in copies]))
            began = time.perf_counter()
            same = [
                are_copies(one, other, lossless=(True, lossless)) for one, other in zip(original, copies, strict=True)
            ]
            seconds, compared = seconds + time.perf_counter() - began, compared + len(same)
            share.append(float((proposed & np.array(same)).mean()))
            print_result(f"copies found: {name}", 100 * share[-1], "%")
            print_result("  proposed by the hash", 100 * float(proposed.mean()), "%")
    print_result(f"copies found of {len(share) * len(original)}", 100 * float(np.mean(share)), "%")
    wrong = 0
    for name, images in variations.items():
        near = are_rows_near(own, hashes(images))
        called = [are_copies(one, other, lossless=(True, True)) for one, other in zip(original, images, strict=True)]
        wrong += sum(called)
        print_result(f"variations called copies: {name}", 100 * float(np.mean(called)), "%")
        print_result("  proposed by the hash", 100 * float(near.mean()), "%")
        for kind, change in WITHOUT_RECIPE.items():
            lossy = [
                are_copies(one, change(other), lossless=(True, False))
                for one, other in zip(original, images, strict=True)
            ]
            print_result(f"  as {kind} without a recipe", 100 * float(np.mean(near & np.array(lossy))), "%")
    print_result(f"variations called copies of {len(variations) * len(original)}", wrong, "")
    print_result("comparison of a pair", 1000 * seconds / compared, "ms")


def main() -> None:
    """Measure rendered images, and the same ones enlarged to 256 pixels."""
    torch.set_num_threads(2)
    scenes = [scene for items in (1, 2) for scene in held_out_scenes(SCENES // 2, items)]
    original, variations = render_variations(load_pipeline(SHIPPED_WEIGHTS), [full_caption(scene) for scene in scenes])
    measure(original, variations)
    print("enlarged to 256 pixels:")
    measure(
        [rescale(one, 4.0) for one in original],
        {name: [rescale(one, 4.0) for one in images] for name, images in variations.items()},
    )


if __name__ == "__main__":
    main()
