"""What a picture's metadata states several times, or only some pictures state: one table each, written and read the same way.

A new part is a table with `image_id` and `position` first, its line in PARTS, and a field of Metadata.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from indexd.images.facts import Metadata
from indexd.store.database import Connection
from indexd.store.values import canonical_seed, ids_json, plain_text, real, whole

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """One table: its columns behind `image_id` and `position`, and the rows that a picture's metadata has there."""

    table: str
    columns: tuple[str, ...]
    rows: Callable[[Metadata], Sequence[Row]]

    @property
    def insert(self) -> str:
        """The statement that writes one row."""
        names = ("image_id", "position", *self.columns)
        return f"INSERT INTO {self.table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"

    def of(self, metadata: Metadata, image_id: int) -> list[Row]:
        """The rows of one picture, whole."""
        return [(image_id, position, *row) for position, row in enumerate(self.rows(metadata))]

    def read(self, connection: Connection, ids: Iterable[int]) -> dict[int, list[Row]]:
        """What stands there of these pictures, by picture, in order, without its first two columns."""
        found: dict[int, list[Row]] = {}
        for image_id, *values in connection.execute(
            f"SELECT image_id, {', '.join(self.columns)} FROM {self.table}"
            " WHERE image_id IN (SELECT value FROM json_each(?)) ORDER BY image_id, position",
            (ids_json(ids),),
        ):
            found.setdefault(image_id, []).append(tuple(values))
        return found


def _loras(made: Metadata) -> list[Row]:
    return [(plain_text(use.name), real(use.weight), real(use.text_weight), plain_text(use.hash)) for use in made.loras]


def _scores(made: Metadata) -> list[Row]:
    # A value that is no number would be no column either.
    return [
        (plain_text(one.name), value, plain_text(one.model))
        for one in made.scores
        if (value := real(one.value)) is not None
    ]


def _controls(made: Metadata) -> list[Row]:
    return [
        (plain_text(use.model), plain_text(use.module), real(use.weight), real(use.start), real(use.end))
        for use in made.controls
    ]


def _passes(made: Metadata) -> list[Row]:
    return [
        (
            canonical_seed(one.seed),
            whole(one.steps),
            real(one.cfg),
            plain_text(one.sampler),
            plain_text(one.schedule),
            real(one.denoise),
            plain_text(one.model_name),
            whole(one.start_step),
            whole(one.end_step),
        )
        for one in made.passes
    ]


def _refinement(made: Metadata) -> list[Row]:
    row = (
        canonical_seed(made.variation_seed),
        real(made.variation_strength),
        real(made.guidance),
        plain_text(made.refiner),
        real(made.hires_scale),
        whole(made.hires_steps),
        plain_text(made.hires_upscaler),
        real(made.hires_denoise),
        plain_text(made.upscaler),
    )
    return [row] if any(value is not None for value in row) else []


def _inversions(made: Metadata) -> list[Row]:
    return [(plain_text(use.name), plain_text(use.hash)) for use in made.embeddings]


def _characters(made: Metadata) -> list[Row]:
    return [(plain_text(one.text), plain_text(one.negative_text), real(one.x), real(one.y)) for one in made.characters]


def _resources(made: Metadata) -> list[Row]:
    return [
        (plain_text(use.address), plain_text(use.kind), plain_text(use.name), plain_text(use.version), real(use.weight))
        for use in made.resources
    ]


def _detailers(made: Metadata) -> list[Row]:
    return [
        (plain_text(use.model), plain_text(use.prompt), plain_text(use.negative_prompt), real(use.denoise))
        for use in made.detailers
    ]


LORAS = Part("lora_use", ("name", "weight", "text_weight", "hash"), _loras)
SCORES = Part("score", ("name", "value", "model"), _scores)
CONTROLS = Part("control_use", ("model", "module", "weight", "start_at", "end_at"), _controls)
PASSES = Part(
    "sampler_pass",
    ("seed", "steps", "cfg", "sampler", "schedule", "denoise", "model_name", "start_step", "end_step"),
    _passes,
)
REFINEMENT = Part(
    "refinement",
    (
        "variation_seed",
        "variation_strength",
        "guidance",
        "refiner",
        "hires_scale",
        "hires_steps",
        "hires_upscaler",
        "hires_denoise",
        "upscaler",
    ),
    _refinement,
)
INVERSIONS = Part("inversion_use", ("name", "hash"), _inversions)
CHARACTERS = Part("character_prompt", ("text", "negative_text", "x", "y"), _characters)
RESOURCES = Part("resource_use", ("address", "kind", "name", "version", "weight"), _resources)
DETAILERS = Part("detailer_use", ("model", "prompt", "negative_prompt", "denoise"), _detailers)

PARTS = (LORAS, SCORES, CONTROLS, PASSES, REFINEMENT, INVERSIONS, CHARACTERS, RESOURCES, DETAILERS)
