"""Parses `<lora:name:0.8>` tags out of a prompt.

The form is A1111's (extensions-builtin/Lora): after the name the weight of the text encoders, then that of the UNet, which
is the same where it is left out; or by name, `te=` and `unet=`. `lbw=` gives weights by block (see docs/loras.md).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_TAG_CHARACTERS = 500
_TAG = re.compile(rf"<(lora|lyco|loha|hypernet):([^<>]{{0,{MAX_TAG_CHARACTERS}}})>", re.IGNORECASE)
_NUMBER = re.compile(r"\s*[+-]?(?:\d{1,12}\.?\d{0,12}|\.\d{1,12})\s*")


class LoraTagError(Exception):
    """A tag that cannot be parsed; the text is a sentence for the person."""


@dataclass(frozen=True, slots=True)
class LoraTag:
    """One tag; a weight that is not stated is None. `blocks` as it stands after `lbw=`."""

    name: str
    weight: float | None = None
    text_weight: float | None = None
    blocks: str | None = None


def extract_lora_tags(prompt: str) -> tuple[str, list[LoraTag]]:
    """The prompt without its tags, and the tags. Raises LoraTagError."""
    tags = [_parse_tag(match[0], match[1], match[2]) for match in _TAG.finditer(prompt)]
    return (_TAG.sub("", prompt).strip() if tags else prompt), tags


def find_lora_tag(text: str) -> str | None:
    """The first tag that stands in the text."""
    match = _TAG.search(text)
    return None if match is None else match[0]


def _parse_tag(tag: str, kind: str, arguments_text: str) -> LoraTag:
    if kind.lower() == "hypernet":
        raise LoraTagError(f"{tag} names a hypernetwork, and there are none here; take it out")
    name, *arguments = arguments_text.split(":")
    if not name.strip():
        raise LoraTagError(f"{tag} names no LoRA; write <lora:name:0.8>")
    placed = [argument for argument in arguments if "=" not in argument]
    named = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    if unknown := sorted(named.keys() - {"te", "unet", "lbw"}):
        raise LoraTagError(f"{tag}: there is no {unknown[0]!r}; there are te, unet, lbw")
    if len(placed) > 2:
        raise LoraTagError(f"{tag}: there are at most two weights, for the text encoders and for the UNet")
    text = _parse_weight(tag, named.get("te", placed[0] if placed else None))
    picture = _parse_weight(tag, named.get("unet", placed[1] if len(placed) > 1 else None))
    if picture is None:
        picture = text
    return LoraTag(name.strip(), picture, None if text == picture else text, named.get("lbw"))


def _parse_weight(tag: str, text: str | None) -> float | None:
    if text is None:
        return None
    if not _NUMBER.fullmatch(text):
        raise LoraTagError(f"{tag}: {text!r} is no number; write <lora:name:0.8>")
    return float(text)
