"""Draw Things: JSON with short keys in `exif:UserComment` inside an XMP packet (PNG), or as the comment itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from indexd.images.facts import LoraUse, Metadata
from indexd.images.metadata import values
from indexd.images.metadata.registry import Texts, reads
from indexd.images.metadata.xmp import xmp_value

_COLUMNS = frozenset(("c", "uc", "seed", "steps", "scale", "sampler", "strength", "model", "size", "lora", "loras"))


@reads("draw-things", rank=35)
def read(texts: Texts) -> Metadata | None:
    """The settings under `c` (prompt), `uc` (negative prompt), `scale` and the like."""
    given = values.record(values.json_of(xmp_value(texts.get("xmp"), "UserComment") or ""))
    given = given or texts.record("exif:UserComment", "jpeg:comment")
    if not isinstance(given.get("c"), str) or "sampler" not in given:
        return None
    size = values.size(given.get("size"))
    return Metadata(
        generator="draw-things",
        generator_version=xmp_value(texts.get("xmp"), "CreatorTool"),
        source="xmp" if texts.get("xmp") else "exif:UserComment",
        is_ai="metadata",
        prompt=values.text(given.get("c")),
        negative_prompt=values.text(given.get("uc")),
        seed=values.seed(given.get("seed")),
        steps=values.whole(given.get("steps")),
        cfg=values.number(given.get("scale")),
        sampler=values.stated(given.get("sampler")),
        denoise=values.number(given.get("strength")),
        model_name=values.model_name(given.get("model")),
        gen_width=size[0] if size else None,
        gen_height=size[1] if size else None,
        loras=tuple(_loras(given)),
        extras=values.others(given, _COLUMNS),
    )


def _loras(given: dict[str, Any]) -> Iterator[LoraUse]:
    for item in (*values.records(given.get("lora")), *values.records(given.get("loras"))):
        name = next((name for key in ("model", "file", "name") if (name := values.model_name(item.get(key)))), None)
        if name is not None:
            yield LoraUse(name, values.number(item.get("weight")))
