"""Draw Things: JSON with short keys in `exif:UserComment` inside an XMP packet (PNG), or as the comment itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from indexd.image_metadata import coerce
from indexd.image_metadata.model import ImageMetadata, MetadataLora
from indexd.image_metadata.registry import MetadataTexts, register_reader
from indexd.image_metadata.xmp import find_xmp_property

_COLUMNS = frozenset(("c", "uc", "seed", "steps", "scale", "sampler", "strength", "model", "size", "lora", "loras"))


@register_reader("draw-things", rank=35)
def read_draw_things(texts: MetadataTexts) -> ImageMetadata | None:
    """The settings under `c` (prompt), `uc` (negative prompt), `scale` and the like."""
    given = coerce.as_object(coerce.parse_json(find_xmp_property(texts.get("xmp"), "UserComment") or ""))
    given = given or texts.json_object("exif:UserComment", "jpeg:comment")
    if not isinstance(given.get("c"), str) or "sampler" not in given:
        return None
    size = coerce.parse_size(given.get("size"))
    return ImageMetadata(
        generator="draw-things",
        generator_version=find_xmp_property(texts.get("xmp"), "CreatorTool"),
        source="xmp" if texts.get("xmp") else "exif:UserComment",
        is_ai="metadata",
        prompt=coerce.clean_text(given.get("c")),
        negative_prompt=coerce.clean_text(given.get("uc")),
        seed=coerce.parse_seed(given.get("seed")),
        steps=coerce.parse_int(given.get("steps")),
        cfg=coerce.parse_float(given.get("scale")),
        sampler=coerce.nonempty_text(given.get("sampler")),
        denoise=coerce.parse_float(given.get("strength")),
        model_name=coerce.parse_model_name(given.get("model")),
        gen_width=size[0] if size else None,
        gen_height=size[1] if size else None,
        loras=tuple(_loras(given)),
        extras=coerce.unmapped_pairs(given, _COLUMNS),
    )


def _loras(given: dict[str, Any]) -> Iterator[MetadataLora]:
    for item in (*coerce.as_objects(given.get("lora")), *coerce.as_objects(given.get("loras"))):
        name = next(
            (name for key in ("model", "file", "name") if (name := coerce.parse_model_name(item.get(key)))), None
        )
        if name is not None:
            yield MetadataLora(name, coerce.parse_float(item.get("weight")))
