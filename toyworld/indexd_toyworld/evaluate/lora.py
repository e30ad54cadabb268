"""Does the LoRA draw the character it was taught, and leave the others as they are?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from indexd_toyworld.captions import full_caption
from indexd_toyworld.drawing import draw
from indexd_toyworld.evaluate.generation import load, pictures
from indexd_toyworld.evaluate.judge import Judge
from indexd_toyworld.evaluate.result import Figure, Progress, Result
from indexd_toyworld.evaluate.sheet import sheet
from indexd_toyworld.paths import toy_models
from indexd_toyworld.sampling import strangers
from indexd_toyworld.train.lora import DIFFUSERS_NAME, PICTURES, RANK, WHO
from indexd_toyworld.world import BACKGROUNDS, CHARACTERS, EXPRESSIONS, UNKNOWN_CHARACTERS, Scene, named_face

SEED = 810
PROMPTS = 40
BAR = 0.8
SHOWN = 6
STRANGERS, DRAWINGS = 100, 40
"""People drawn by lot, and drawings of each person."""
PEOPLE = (*CHARACTERS, *UNKNOWN_CHARACTERS)


def evaluate(weights: Path, progress: Progress) -> Result:
    """40 prompts for the taught character and 40 for the others, without and with the LoRA. Who a face looks like most
    is told by the toy CLIP, whose vectors of each person are averaged over drawings: of the twelve people, and of the
    twelve and 100 strangers, since a face that is nobody's would otherwise be nearest to one of the two that the judge
    was never shown.
    """
    judge = Judge(weights)
    progress("meeting people", 0, 2 * PROMPTS)
    means = _means(judge)
    pipeline = load(weights)
    scenes = [*portraits([WHO], PROMPTS), *portraits(tuple(CHARACTERS), PROMPTS)]
    prompts = [full_caption(scene) for scene in scenes]
    made: dict[str, list[Image.Image]] = {}
    for name in ("without", "with"):
        if name == "with":
            pipeline.load_lora_weights(toy_models(weights).loras, weight_name=DIFFUSERS_NAME)
        made[name] = pictures(pipeline, prompts, SEED, _drawing(name, progress))
    vectors = {name: judge.pictures(faces) for name, faces in made.items()}
    wanted = [scene.faces[0].who for scene in scenes]
    right = {name: np.array(_nearest(means, rows)) == np.array(wanted) for name, rows in vectors.items()}
    few = {who: means[who] for who in PEOPLE}
    of_twelve = {name: np.array(_nearest(few, rows[:PROMPTS])) == WHO for name, rows in vectors.items()}
    taught = means[WHO] / np.linalg.norm(means[WHO])
    alike = {name: float((rows[:PROMPTS] @ taught).mean()) for name, rows in vectors.items()}
    shown = [*range(SHOWN), *range(PROMPTS, PROMPTS + SHOWN)]
    return Result(
        title="LoRA",
        figures=(
            Figure(
                f"{WHO} is who it looks like most, with the LoRA",
                float(right["with"][:PROMPTS].mean()),
                least=BAR,
                remark=f"nearest of {len(means)} people, so that chance is {1 / len(means):.3f}; rank {RANK}, taught from "
                f"{PICTURES} pictures; {PROMPTS} prompts",
            ),
            Figure(f"{WHO} without it", float(right["without"][:PROMPTS].mean()), remark="the same prompts and seeds"),
            Figure(
                f"{WHO}, nearest of {len(PEOPLE)}, with it",
                float(of_twelve["with"].mean()),
                least=BAR,
                remark="without the strangers",
            ),
            Figure(f"{WHO}, nearest of {len(PEOPLE)}, without it", float(of_twelve["without"].mean())),
            Figure(f"likeness of {WHO} with it", alike["with"], remark="cosine to the mean of drawings of her"),
            Figure(f"likeness of {WHO} without it", alike["without"]),
            Figure("known characters with it", float(right["with"][PROMPTS:].mean()), remark=f"{PROMPTS} prompts"),
            Figure("known characters without it", float(right["without"][PROMPTS:].mean())),
        ),
        sheets={
            "lora": sheet(
                [made[name][place] for name in made for place in shown],
                [f"{wanted[place]} {name}" for name in made for place in shown],
            )
        },
    )


def portraits(people: list[str] | tuple[str, ...], count: int) -> list[Scene]:
    """Portraits of these people by turns, in every expression and before every background."""
    grounds = tuple(BACKGROUNDS)
    return [
        Scene(
            grounds[number % len(grounds)],
            faces=(named_face(people[number % len(people)], EXPRESSIONS[number // len(people) % len(EXPRESSIONS)]),),
            seed=SEED + number,
        )
        for number in range(count)
    ]


def _drawing(name: str, progress: Progress) -> Callable[[int], None]:
    return lambda done: progress(f"drawing {name} the LoRA", done, 2 * PROMPTS)


def _means(judge: Judge) -> dict[str, NDArray[np.float32]]:
    """The mean vector of each of the twelve and of the strangers, by name."""
    seen = {who: portraits([who], DRAWINGS) for who in PEOPLE}
    for number, stranger in enumerate(strangers(SEED, STRANGERS)):
        look = stranger.faces[0].look
        seen[f"stranger {number}"] = [
            replace(scene, faces=(replace(scene.faces[0], look=look),)) for scene in portraits([WHO], DRAWINGS)
        ]
    return {who: judge.pictures([draw(scene) for scene in scenes]).mean(axis=0) for who, scenes in seen.items()}


def _nearest(means: Mapping[str, NDArray[np.float32]], vectors: NDArray[np.float32]) -> list[str]:
    """By the cosine to the means, less what the twelve share."""
    shared = np.mean([means[who] for who in PEOPLE], axis=0)
    centres = np.stack([mean - shared for mean in means.values()])
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    names = list(means)
    return [names[place] for place in ((vectors - shared) @ centres.T).argmax(axis=1)]
