"""Converts rows of the index into the models of the JSON output."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, is_dataclass, replace
from typing import Any

from indexd.fs.paths import display, quoted_if_not_utf8
from indexd.image_metadata.model import GenerationDetails, ImageMetadata
from indexd.image_metadata.redact import redact_secrets
from indexd.store.records import AttributeRow, FileRow, ImageRow, OverwrittenFile, RegionRow
from indexd_schemas.api.output import (
    ImageFile,
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
    """A file of the image that is not missing, or None."""
    return next((file for file in row.files if file.missing_since is None), None)


def serialize_image(row: ImageRow, overwritten: OverwrittenFile | None = None) -> ImageSummary:
    """Convert an image. Fields of the same name are copied. `overwritten` is where the content of an image without a file lay."""
    file = find_present_file(row)
    last_path, missing_since = None, None
    if file is None and row.files:
        lost = max(row.files, key=lambda one: one.missing_since or 0.0)
        last_path, missing_since = lost.path, lost.missing_since
    elif file is None and overwritten is not None:
        last_path, missing_since = overwritten.path, overwritten.at
    return ImageSummary(
        **{name: getattr(row, name) for name in _COPIED_FIELDS},
        hash=row.content_hash.hex(),
        path=display(file.path) if file else None,
        path_quoted=quoted_if_not_utf8(file.path) if file else None,
        last_path=display(last_path) if last_path is not None else None,
        missing_since=missing_since,
        is_overwritten=last_path is not None and not row.files,
        model=row.model_name,
        loras=list(row.loras),
        scores={one.name: one.value for one in row.scores},
        tags=list(row.tags),
        folder_tags=list(row.folder_tags),
        problem=row.decode_problem or row.parse_problem,
    )


def serialize_region(row: RegionRow) -> ImageRegion:
    """Convert a region, with rounded numbers."""
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
    return [
        StatedAttribute(source=row.source, key=sanitize_text(row.key), value=sanitize_text(row.value), score=row.score)
        for row in rows
    ]


def serialize_file(row: FileRow) -> ImageFile:
    return ImageFile(
        path=display(row.path),
        path_quoted=quoted_if_not_utf8(row.path),
        size=row.stamp.size,
        modified_at=row.stamp.mtime_ns / 1e9,
        missing_since=row.missing_since,
    )


def serialize_generation(metadata: ImageMetadata | None) -> GenerationDetails:
    """Convert generation settings; None (the image was deleted meanwhile) gives an empty result."""
    if metadata is None:
        return GenerationDetails()
    return GenerationDetails(**{one.name: _sanitize(getattr(metadata, one.name)) for one in fields(GenerationDetails)})


def serialize_extras(row: ImageRow) -> dict[str, str]:
    """Metadata without a column, by name. Several values of one name are joined by line breaks."""
    extras: dict[str, str] = {}
    for key, value in row.extras:
        extras[key] = f"{extras[key]}\n{sanitize_text(value)}" if key in extras else sanitize_text(value)
    return extras


def _sanitize(value: Any) -> Any:
    if isinstance(value, str):
        return sanitize_text(value)
    if isinstance(value, tuple):
        return tuple(map(_sanitize, value))
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{one.name: _sanitize(getattr(value, one.name)) for one in fields(value)})
    return value


def sanitize_text(text: str) -> str:
    """Metadata text as valid UTF-8, without the signatures in URLs."""
    return redact_secrets(text.encode("utf-8", "replace").decode())
