"""Where each field of ImageMetadata is stored. Columns and their values are derived from the fields and their types.

To add a field: add it to ImageMetadata and a column of the same name to the table below that holds it. A scalar field goes to `image` unless
it is listed in TEXT_FIELDS or REFINEMENT_FIELDS. A field of several records has a child table, with one line in CHILD_TABLES.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Callable, Iterable
from typing import Any

from indexd.image_metadata.model import (
    CharacterPrompt,
    ChoiceUse,
    ControlUse,
    DetailerUse,
    EmbeddingUse,
    ImageMetadata,
    MetadataLora,
    MetadataScore,
    ResourceUse,
    SamplerPass,
)
from indexd.store.sqlite.adapters import canonical_seed, finite_or_none, ids_json, int64_or_none, utf8_text
from indexd.store.sqlite.database import Connection

Row = tuple[Any, ...]

# The texts, in `image_text`, so that a scan of `image` reads little.
TEXT_FIELDS = ("prompt", "negative_prompt", "raw_prompt")
# Fields that few images state, in `refinement`, for the same reason. An image that states none of them has no row.
REFINEMENT_FIELDS = (
    "variation_seed",
    "variation_strength",
    "guidance",
    "refiner",
    "hires_scale",
    "hires_steps",
    "hires_upscaler",
    "hires_denoise",
    "upscaler",
    "vae_hash",
)
_SEED_FIELDS = ("seed", "variation_seed")
# Columns that are not named like their field: END is a keyword of SQL, and `problem` would not say of what.
_COLUMN_NAMES = {"start": "start_at", "end": "end_at", "problem": "parse_problem"}


def _scalar_fields(record: type[Any]) -> dict[str, Callable[[Any], Any]]:
    """For each scalar field of a record, the function that makes its value storable: one odd value must not cost a batch."""
    by_type: dict[type, Callable[[Any], Any]] = {str: utf8_text, int: int64_or_none, float: finite_or_none}
    found: dict[str, Callable[[Any], Any]] = {}
    for name, hint in typing.get_type_hints(record).items():
        scalars = [one for one in by_type if hint == one or hint == one | None]
        if scalars:
            found[name] = canonical_seed if name in _SEED_FIELDS else by_type[scalars[0]]
    return found


_CONVERTERS: dict[type[Any], dict[str, Callable[[Any], Any]]] = {
    record: _scalar_fields(record)
    for record in (
        ImageMetadata,
        MetadataLora,
        MetadataScore,
        ControlUse,
        SamplerPass,
        EmbeddingUse,
        CharacterPrompt,
        ResourceUse,
        DetailerUse,
        ChoiceUse,
    )
}


def _columns(fields: Iterable[str]) -> tuple[str, ...]:
    return tuple(_COLUMN_NAMES.get(name, name) for name in fields)


def _values(record: object, fields: Iterable[str]) -> Row:
    convert = _CONVERTERS[type(record)]
    return tuple(convert[name](getattr(record, name)) for name in fields)


# The creation date of `image` is not the stated one alone: see `creation_date` of image_writer.py.
_DATE_FIELDS = ("created_at", "created_until", "created_from")
_IMAGE_FIELDS = tuple(
    name for name in _CONVERTERS[ImageMetadata] if name not in (*TEXT_FIELDS, *REFINEMENT_FIELDS, *_DATE_FIELDS)
)
IMAGE_COLUMNS = _columns(_IMAGE_FIELDS)
"""The columns of `image` that hold metadata, in the order of the fields."""
TEXT_COLUMNS = (*TEXT_FIELDS, "extras")


def image_values(metadata: ImageMetadata) -> Row:
    """The values of IMAGE_COLUMNS."""
    return _values(metadata, _IMAGE_FIELDS)


def text_values(metadata: ImageMetadata) -> Row:
    """The values of TEXT_COLUMNS."""
    extras = json.dumps([list(pair) for pair in metadata.extras]) if metadata.extras else None
    return (*_values(metadata, TEXT_FIELDS), extras)


def parse_extras(text: str | None) -> tuple[tuple[str, str], ...]:
    """The field `extras` from its column."""
    return tuple((name, value) for name, value in json.loads(text or "[]"))


class ChildTable:
    """A table of rows (image_id, position, the scalar fields of `record`): one row for each record in a field of ImageMetadata."""

    def __init__(self, table: str, field: str, record: type[Any]) -> None:
        self.table = table
        self.field = field
        self.record = record
        self.fields = tuple(_CONVERTERS[record])
        self.columns = _columns(self.fields)
        self._required = [
            at for at, one in enumerate(dataclasses.fields(record)) if one.type == "float" and one.name in self.fields
        ]

    def records(self, metadata: ImageMetadata) -> tuple[Any, ...]:
        """The records of an image."""
        found: tuple[Any, ...] = getattr(metadata, self.field)
        return found

    @property
    def insert_sql(self) -> str:
        """The statement that writes one row."""
        names = ("image_id", "position", *self.columns)
        return f"INSERT INTO {self.table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"

    def rows_for(self, metadata: ImageMetadata, image_id: int) -> list[Row]:
        """The rows of one image. A record whose required number is not finite has no row."""
        rows = [_values(record, self.fields) for record in self.records(metadata)]
        stored = (row for row in rows if all(row[at] is not None for at in self._required))
        return [(image_id, position, *row) for position, row in enumerate(stored)]

    def read(self, connection: Connection, ids: Iterable[int]) -> dict[int, list[dict[str, Any]]]:
        """By image, the fields of each of its records, in order."""
        found: dict[int, list[dict[str, Any]]] = {}
        for image_id, *values in connection.execute(
            f"SELECT image_id, {', '.join(self.columns)} FROM {self.table}"
            " WHERE image_id IN (SELECT value FROM json_each(?)) ORDER BY image_id, position",
            (ids_json(ids),),
        ):
            found.setdefault(image_id, []).append(dict(zip(self.fields, values, strict=True)))
        return found

    def read_records(self, connection: Connection, ids: Iterable[int]) -> dict[int, tuple[Any, ...]]:
        """By image, its records, in order."""
        return {
            image_id: tuple(self.record(**fields) for fields in rows)
            for image_id, rows in self.read(connection, ids).items()
        }


class _RefinementTable(ChildTable):
    """At most one row an image, of the REFINEMENT_FIELDS."""

    def __init__(self) -> None:
        super().__init__("refinement", "", ImageMetadata)
        self.fields = self.columns = REFINEMENT_FIELDS
        self._required = []

    def records(self, metadata: ImageMetadata) -> tuple[Any, ...]:
        is_stated = any(getattr(metadata, name) is not None for name in self.fields)
        return (metadata,) if is_stated else ()


LORAS = ChildTable("lora_use", "loras", MetadataLora)
SCORES = ChildTable("score", "scores", MetadataScore)
CHARACTER_PROMPTS = ChildTable("character_prompt", "characters", CharacterPrompt)
REFINEMENT = _RefinementTable()
RECORD_TABLES = (
    LORAS,
    SCORES,
    ChildTable("control_use", "controls", ControlUse),
    ChildTable("sampler_pass", "passes", SamplerPass),
    ChildTable("textual_inversion_use", "embeddings", EmbeddingUse),
    CHARACTER_PROMPTS,
    ChildTable("resource_use", "resources", ResourceUse),
    ChildTable("detailer_use", "detailers", DetailerUse),
    ChildTable("choice_use", "choices", ChoiceUse),
)
CHILD_TABLES = (*RECORD_TABLES, REFINEMENT)


def read_metadata(connection: Connection, image_id: int) -> ImageMetadata | None:
    """All stored metadata of an image but the raw chunks; None if there is no such image."""
    columns = (*IMAGE_COLUMNS, "created_at", "created_from", *TEXT_COLUMNS)
    row = connection.execute(
        f"SELECT {', '.join(columns)} FROM image JOIN image_text ON image_text.image_id = image.id WHERE image.id = ?",
        (image_id,),
    ).fetchone()
    if row is None:
        return None
    fields = dict(zip((*_IMAGE_FIELDS, "created_at", "created_from", *TEXT_COLUMNS), row, strict=True))
    fields["extras"] = parse_extras(fields["extras"])
    for refinement in REFINEMENT.read(connection, [image_id]).values():
        fields |= refinement[0]
    for child in RECORD_TABLES:
        fields[child.field] = child.read_records(connection, [image_id]).get(image_id, ())
    return ImageMetadata(**fields)
