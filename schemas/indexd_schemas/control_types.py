"""Control types: their names, their index in a ControlNet-union, and the preprocessor that makes their map."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

CANNY_LOW = 100
CANNY_HIGH = 200


@dataclass(frozen=True, slots=True)
class ControlType:
    """One control type.

    `union_index` is its index in ControlNet-union for SDXL (None = missing there). `words` occur in the names of its model files.
    `preprocessor` makes the map: "" = the image is the map, None = not available.
    """

    name: str
    union_index: int | None
    words: tuple[str, ...]
    preprocessor: str | None
    aliases: tuple[str, ...] = ()


# Indexes: table of control types in the model card of ControlNet++ (union) for SDXL; 6 and 7 are those of its promax version.
CONTROL_TYPES: Mapping[str, ControlType] = MappingProxyType(
    {
        one.name: one
        for one in (
            ControlType("canny", 3, ("canny",), "opencv"),
            ControlType("depth", 1, ("depth", "zoe", "midas", "leres"), "depth model"),
            ControlType("pose", 0, ("pose", "openpose", "dwpose"), "pose model", ("openpose", "dwpose", "dw_openpose")),
            ControlType(
                "lineart", 3, ("lineart", "line"), "opencv", ("line_art", "lineart_anime", "lineart_realistic")
            ),
            ControlType("softedge", 2, ("softedge", "hed", "pidi", "pidinet", "teed"), "opencv", ("hed", "soft_edge")),
            ControlType("scribble", 2, ("scribble", "sketch"), "opencv", ("sketch",)),
            ControlType("tile", 6, ("tile", "blur"), "", ("tile_resample",)),
            ControlType("normal", 4, ("normal", "normalbae"), None, ("normal_map", "normalbae")),
            ControlType("segment", 5, ("segment", "segmentation", "seg"), None, ("seg", "segmentation")),
            ControlType("inpaint", 7, ("inpaint", "inpainting", "repaint"), None, ("repaint",)),
            ControlType("none", None, (), ""),
        )
    }
)


class UnknownControlType(ValueError):
    """Unknown name of a control type; the text suggests the nearest."""


def find_control_type(name: str) -> ControlType:
    """The type with this name or alias. Raises UnknownControlType."""
    known = {alias: one for one in CONTROL_TYPES.values() for alias in (one.name, *one.aliases)}
    folded = name.strip().casefold().replace("-", "_").replace(" ", "_")
    if folded in known:
        return known[folded]
    near = list(dict.fromkeys(known[word].name for word in difflib.get_close_matches(folded[:100], known, n=3)))
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(CONTROL_TYPES)}"
    raise UnknownControlType(f"there is no control type {name[:60]!r}; {hint}")


def matches_type(model_name: str, wanted: ControlType) -> bool:
    """Whether the name of a ControlNet contains a word of the type `wanted`, as a whole word."""
    return not _words(model_name).isdisjoint(wanted.words)


def is_union_name(model_name: str) -> bool:
    """Whether the name of a ControlNet is that of a union."""
    return "union" in _words(model_name)


def _words(name: str) -> set[str]:
    plain = "".join(sign if sign.isalnum() else " " for sign in name.casefold())
    return {part for word in plain.split() for part in (word, word.removeprefix("controlnet"), word.removesuffix("xl"))}
