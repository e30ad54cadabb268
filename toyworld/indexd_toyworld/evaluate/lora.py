"""Does the LoRA draw the character it was taught, and leave the others as they are?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from indexd_toyworld.captions import full_caption
from indexd_toyworld.drawing import draw
from indexd_toyworld.evaluate.generation import load, picture
from indexd_toyworld.evaluate.judge import Judge
from indexd_toyworld.evaluate.result import Figure, Progress, Result
from indexd_toyworld.evaluate.sheet import sheet
from indexd_toyworld.paths import toy_models
from indexd_toyworld.train.lora import DIFFUSERS_NAME, PICTURES, RANK, WHO
from indexd_toyworld.world import BACKGROUNDS, CHARACTERS, EXPRESSIONS, UNKNOWN_CHARACTERS, Scene, named_face

SEED = 810
PROMPTS = 40
BAR = 0.8
SHOWN = 6
PEOPLE = (*CHARACTERS, *UNKNOWN_CHARACTERS)


def evaluate(weights: Path, progress: Progress) -> Result:
    """40 prompts for the taught character and 40 for the others, without and with the LoRA; the nearest of the twelve
    people by the toy CLIP, whose vectors of each are averaged over drawings.
    """
    centres = _centres(judge := Judge(weights))
    pipeline = load(weights)
    taught, others = portraits([WHO], PROMPTS), portraits(tuple(CHARACTERS), PROMPTS)
    made: dict[str, list[Image.Image]] = {}
    for name in ("without", "with"):
        if name == "with":
            pipeline.load_lora_weights(toy_models(weights).loras, weight_name=DIFFUSERS_NAME)
        for number, scene in enumerate([*taught, *others]):
            progress(f"drawing {name} the LoRA", number, 2 * PROMPTS)
            made.setdefault(name, []).append(picture(pipeline, full_caption(scene), SEED + number))
    vectors = {name: judge.pictures(pictures) for name, pictures in made.items()}
    who = {name: _nearest(centres, rows) for name, rows in vectors.items()}
    alike = {name: float((rows[:PROMPTS] @ _unit(judge, WHO)).mean()) for name, rows in vectors.items()}
    wanted = [scene.faces[0].who for scene in (*taught, *others)]
    right = {name: np.array(found) == np.array(wanted) for name, found in who.items()}
    shown = [*range(SHOWN), *range(PROMPTS, PROMPTS + SHOWN)]
    return Result(
        title="LoRA",
        figures=(
            Figure(
                f"{WHO} is who it looks like most, with the LoRA",
                float(right["with"][:PROMPTS].mean()),
                least=BAR,
                remark=f"nearest of {len(PEOPLE)}; rank {RANK}, taught from {PICTURES} pictures; {PROMPTS} prompts",
            ),
            Figure(f"{WHO} without it", float(right["without"][:PROMPTS].mean()), remark="the same prompts and seeds"),
            Figure(f"likeness of {WHO} with it", alike["with"], remark="cosine to the mean of drawings of her"),
            Figure(
                f"likeness of {WHO} without it",
                alike["without"],
                remark="a face that is nobody's is nearest to one of the two the judge was never shown either",
            ),
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


def _centres(judge: Judge) -> NDArray[np.float32]:
    """The mean vector of each of the twelve, less what all of them share."""
    means = np.stack([judge.pictures([draw(scene) for scene in portraits([who], 40)]).mean(axis=0) for who in PEOPLE])
    centres: NDArray[np.float32] = means - means.mean(axis=0)
    return centres


def _nearest(centres: NDArray[np.float32], vectors: NDArray[np.float32]) -> list[str]:
    return [PEOPLE[place] for place in (vectors @ centres.T).argmax(axis=1)]


def _unit(judge: Judge, who: str) -> NDArray[np.float32]:
    mean = judge.pictures([draw(scene) for scene in portraits([who], 40)]).mean(axis=0)
    unit: NDArray[np.float32] = mean / np.linalg.norm(mean)
    return unit
