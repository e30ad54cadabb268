"""Draw Things: JSON with short keys in `exif:UserComment` inside an XMP packet (PNG), or as the comment itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from indexd.image_metadata import coerce, infotext
from indexd.image_metadata.model import ControlUse, ImageMetadata, MetadataLora
from indexd.image_metadata.registry import MetadataTexts, register_reader
from indexd.image_metadata.xmp import find_xmp_property

_LOST = re.compile(r"[?\u0080-\U0010ffff]+")
_COLUMNS = frozenset(
    ("c", "uc", "seed", "steps", "scale", "sampler", "strength", "model", "size", "lora", "loras", "clip_skip")
)


@register_reader("draw-things", rank=35)
def read_draw_things(texts: MetadataTexts) -> ImageMetadata | None:
    """The settings under `c` (prompt), `uc` (negative prompt), `scale` and the like."""
    given = coerce.as_object(coerce.parse_json(find_xmp_property(texts.get("xmp"), "UserComment") or ""))
    given = given or texts.json_object("exif:UserComment", "jpeg:comment")
    if not isinstance(given.get("c"), str) or "sampler" not in given:
        return None
    size = coerce.parse_size(given.get("size"))
    # Newer versions repeat everything under `v2`, with what the short keys leave out.
    more = coerce.as_object(given.get("v2"))
    hires = more if more.get("hiresFix") is True else {}
    prompt, negative = _restore_letters(given, texts.get("exif:ImageDescription"))
    return ImageMetadata(
        generator="draw-things",
        generator_version=find_xmp_property(texts.get("xmp"), "CreatorTool"),
        source="xmp" if texts.get("xmp") else "exif:UserComment",
        is_ai="metadata",
        prompt=coerce.clean_text(prompt),
        negative_prompt=coerce.clean_text(negative),
        seed=coerce.parse_seed(given.get("seed")),
        steps=coerce.parse_int(given.get("steps")),
        cfg=coerce.parse_float(given.get("scale")),
        sampler=coerce.nonempty_text(given.get("sampler")),
        denoise=coerce.parse_float(given.get("strength")),
        clip_skip=coerce.parse_int(given.get("clip_skip")) or None,
        model_name=coerce.parse_model_name(given.get("model")),
        refiner=coerce.parse_model_name(more.get("refinerModel")),
        hires_denoise=coerce.parse_float(hires.get("hiresFixStrength")),
        upscaler=coerce.parse_model_name(more.get("upscaler")),
        gen_width=size[0] if size else None,
        gen_height=size[1] if size else None,
        loras=tuple(_loras(given)) or tuple(_loras(more)),
        controls=tuple(_controls(more)),
        extras=coerce.unmapped_pairs(given, _COLUMNS),
    )


def _controls(more: dict[str, Any]) -> Iterator[ControlUse]:
    for item in coerce.as_objects(more.get("controls")):
        if name := coerce.parse_model_name(item.get("file")):
            yield ControlUse(
                name,
                None,
                coerce.parse_float(item.get("weight")),
                coerce.parse_float(item.get("guidanceStart")),
                coerce.parse_float(item.get("guidanceEnd")),
            )


def _restore_letters(given: dict[str, Any], description: str | None) -> tuple[Any, Any]:
    """Prompt and negative prompt; with the letters that became "?" in the comment taken from the description.

    The description is the prompt, a line that begins with "-" for the negative prompt, and a line of settings.
    """
    prompt, negative = given.get("c"), given.get("uc")
    parts = infotext.split_infotext(description) if description and "?" in f"{prompt}{negative}" else None
    if parts is None:
        return prompt, negative
    head, _, last = parts.prompt.rpartition("\n-")
    whole_prompt, whole_negative = (head, last) if head else (parts.prompt, "")
    if _is_lossy_copy(prompt, whole_prompt):
        prompt = whole_prompt
    if _is_lossy_copy(negative, whole_negative):
        negative = whole_negative
    return prompt, negative


def _is_lossy_copy(lossy: object, whole: str) -> bool:
    """Whether the text only differs by question marks where the other has letters beyond ASCII."""
    return isinstance(lossy, str) and _squeeze(lossy) == _squeeze(whole)


def _squeeze(text: str) -> str:
    return _LOST.sub("?", text.replace("\r\n", "\n").strip())


def _loras(given: dict[str, Any]) -> Iterator[MetadataLora]:
    for item in (*coerce.as_objects(given.get("lora")), *coerce.as_objects(given.get("loras"))):
        name = next(
            (name for key in ("model", "file", "name") if (name := coerce.parse_model_name(item.get(key)))), None
        )
        if name is not None:
            yield MetadataLora(name, coerce.parse_float(item.get("weight")))
