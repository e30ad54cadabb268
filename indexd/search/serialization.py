"""Rows of the index as people and programs see them: text paths, hex hashes, the fields of the JSON contract."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import Any

from indexd.fs.paths import display, quoted_if_not_utf8
from indexd.image_metadata.model import ImageMetadata
from indexd.image_metadata.redact import redact_secrets
from indexd.store.records import AttributeRow, FileRow, ImageRow, RegionRow
from indexd_schemas.api.output import (
    GenerationDetails,
    ImageFile,
    ImageLora,
    ImageRegion,
    ImageSummary,
    StatedAttribute,
)

_COPIED_FIELDS = {one.name for one in fields(ImageRow)} & ImageSummary.model_fields.keys() - {
    "loras",
    "scores",
    "tags",
    "folder_tags",
}


def find_present_file(row: ImageRow) -> FileRow | None:
    """One place where the picture lies now, or None when every one is missing."""
    return next((file for file in row.files if file.missing_since is None), None)


def serialize_image(row: ImageRow) -> ImageSummary:
    """The image as the JSON output has it. Fields of the same name are copied."""
    file = find_present_file(row)
    return ImageSummary(
        **{name: getattr(row, name) for name in _COPIED_FIELDS},
        hash=row.content_hash.hex(),
        path=display(file.path) if file else None,
        path_quoted=quoted_if_not_utf8(file.path) if file else None,
        model=row.model_name,
        loras=[ImageLora(**asdict(use)) for use in row.loras],
        scores={one.name: one.value for one in row.scores},
        tags=list(row.tags),
        folder_tags=list(row.folder_tags),
        problem=row.decode_problem or row.parse_problem,
    )


def serialize_region(row: RegionRow) -> ImageRegion:
    """A face or another thing found in a picture as the JSON contract has it."""
    region = row.region
    return ImageRegion(
        id=row.id,
        kind=region.kind,
        left=round(region.left, 5),
        top=round(region.top, 5),
        width=round(region.width, 5),
        height=round(region.height, 5),
        confidence=round(region.confidence, 4),
        size_px=region.size_px,
        sharpness=round(region.sharpness, 2),
        quality=round(region.quality, 4),
        detector=region.detector,
    )


def serialize_attributes(rows: Iterable[AttributeRow]) -> list[StatedAttribute]:
    """What index stages state of an image as the JSON contract has it."""
    return [
        StatedAttribute(source=row.source, key=sanitize_text(row.key), value=sanitize_text(row.value), score=row.score)
        for row in rows
    ]


def serialize_file(row: FileRow) -> ImageFile:
    """One place where a picture lies or lay."""
    return ImageFile(
        path=display(row.path),
        path_quoted=quoted_if_not_utf8(row.path),
        size=row.stamp.size,
        modified_at=row.stamp.mtime_ns / 1e9,
        missing_since=row.missing_since,
    )


def serialize_generation(metadata: ImageMetadata | None) -> GenerationDetails:
    """How an image was made as the JSON output has it; empty if the image was deleted meanwhile."""
    if metadata is None:
        return GenerationDetails()
    details = {name: value for name, value in asdict(metadata).items() if name in GenerationDetails.model_fields}
    details["passes"] = [{**one, "model": one.pop("model_name")} for one in details["passes"]]
    return GenerationDetails.model_validate(_sanitize(details))


def serialize_extras(row: ImageRow) -> dict[str, str]:
    """What no column is made for, by name; what is stated several times stands in lines below each other."""
    found: dict[str, str] = {}
    for key, value in row.extras:
        found[key] = f"{found[key]}\n{sanitize_text(value)}" if key in found else sanitize_text(value)
    return found


def _sanitize(value: Any) -> Any:
    if isinstance(value, str):
        return sanitize_text(value)
    if isinstance(value, dict):
        return {key: _sanitize(inner) for key, inner in value.items()}
    return [_sanitize(inner) for inner in value] if isinstance(value, list | tuple) else value


def sanitize_text(text: str) -> str:
    """Text of a file's metadata, fit for JSON, and with the signatures of its addresses taken off."""
    return redact_secrets(text.encode("utf-8", "replace").decode())
