"""What a picture's metadata states several times, or only some pictures state: one table each, written and read the same way.

A new part is a table with `image_id` and `position` first, its line in PARTS, and a field of Metadata.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from indexd.image_metadata.model import ImageMetadata
from indexd.store.sqlite.adapters import canonical_seed, finite_or_none, ids_json, int64_or_none, utf8_text
from indexd.store.sqlite.database import Connection

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class ChildTable:
    """One table: its columns behind `image_id` and `position`, and the rows that a picture's metadata has there."""

    table: str
    columns: tuple[str, ...]
    extract: Callable[[ImageMetadata], Sequence[Row]]

    @property
    def insert_sql(self) -> str:
        """The statement that writes one row."""
        names = ("image_id", "position", *self.columns)
        return f"INSERT INTO {self.table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"

    def rows_for(self, metadata: ImageMetadata, image_id: int) -> list[Row]:
        """The rows of one picture, whole."""
        return [(image_id, position, *row) for position, row in enumerate(self.extract(metadata))]

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


def _loras(made: ImageMetadata) -> list[Row]:
    return [
        (utf8_text(use.name), finite_or_none(use.weight), finite_or_none(use.text_weight), utf8_text(use.hash))
        for use in made.loras
    ]


def _scores(made: ImageMetadata) -> list[Row]:
    # A value that is no number would be no column either.
    return [
        (utf8_text(one.name), value, utf8_text(one.model))
        for one in made.scores
        if (value := finite_or_none(one.value)) is not None
    ]


def _controls(made: ImageMetadata) -> list[Row]:
    return [
        (
            utf8_text(use.model),
            utf8_text(use.module),
            finite_or_none(use.weight),
            finite_or_none(use.start),
            finite_or_none(use.end),
        )
        for use in made.controls
    ]


def _sampler_passes(made: ImageMetadata) -> list[Row]:
    return [
        (
            canonical_seed(one.seed),
            int64_or_none(one.steps),
            finite_or_none(one.cfg),
            utf8_text(one.sampler),
            utf8_text(one.schedule),
            finite_or_none(one.denoise),
            utf8_text(one.model_name),
            int64_or_none(one.start_step),
            int64_or_none(one.end_step),
        )
        for one in made.passes
    ]


def _refinement(made: ImageMetadata) -> list[Row]:
    row = (
        canonical_seed(made.variation_seed),
        finite_or_none(made.variation_strength),
        finite_or_none(made.guidance),
        utf8_text(made.refiner),
        finite_or_none(made.hires_scale),
        int64_or_none(made.hires_steps),
        utf8_text(made.hires_upscaler),
        finite_or_none(made.hires_denoise),
        utf8_text(made.upscaler),
    )
    return [row] if any(value is not None for value in row) else []


def _textual_inversions(made: ImageMetadata) -> list[Row]:
    return [(utf8_text(use.name), utf8_text(use.hash)) for use in made.embeddings]


def _character_prompts(made: ImageMetadata) -> list[Row]:
    return [
        (utf8_text(one.text), utf8_text(one.negative_text), finite_or_none(one.x), finite_or_none(one.y))
        for one in made.characters
    ]


def _resources(made: ImageMetadata) -> list[Row]:
    return [
        (
            utf8_text(use.address),
            utf8_text(use.kind),
            utf8_text(use.name),
            utf8_text(use.version),
            finite_or_none(use.weight),
        )
        for use in made.resources
    ]


def _detailers(made: ImageMetadata) -> list[Row]:
    return [
        (utf8_text(use.model), utf8_text(use.prompt), utf8_text(use.negative_prompt), finite_or_none(use.denoise))
        for use in made.detailers
    ]


LORAS = ChildTable("lora_use", ("name", "weight", "text_weight", "hash"), _loras)
SCORES = ChildTable("score", ("name", "value", "model"), _scores)
CONTROLS = ChildTable("control_use", ("model", "module", "weight", "start_at", "end_at"), _controls)
SAMPLER_PASSES = ChildTable(
    "sampler_pass",
    ("seed", "steps", "cfg", "sampler", "schedule", "denoise", "model_name", "start_step", "end_step"),
    _sampler_passes,
)
REFINEMENT = ChildTable(
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
TEXTUAL_INVERSIONS = ChildTable("textual_inversion_use", ("name", "hash"), _textual_inversions)
CHARACTER_PROMPTS = ChildTable("character_prompt", ("text", "negative_text", "x", "y"), _character_prompts)
RESOURCES = ChildTable("resource_use", ("address", "kind", "name", "version", "weight"), _resources)
DETAILERS = ChildTable("detailer_use", ("model", "prompt", "negative_prompt", "denoise"), _detailers)

CHILD_TABLES = (
    LORAS,
    SCORES,
    CONTROLS,
    SAMPLER_PASSES,
    REFINEMENT,
    TEXTUAL_INVERSIONS,
    CHARACTER_PROMPTS,
    RESOURCES,
    DETAILERS,
)
