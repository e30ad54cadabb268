"""Parses `<lora:name:0.8>` tags out of a prompt.

The form is A1111's (extensions-builtin/Lora): after the name the weight of the text encoders, then that of the UNet, which
is the same where it is left out; or by name, `te=` and `unet=`. `lbw=` gives weights by block (see docs/loras.md).
"""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationError

from indexd_schemas import lora_blocks
from indexd_schemas.jobs.job_values import JobLora
from indexd_schemas.validation_messages import describe_error

MAX_TAG_CHARACTERS = 500
_TAG = re.compile(rf"<(lora|lyco|loha|hypernet):([^<>]{{0,{MAX_TAG_CHARACTERS}}})>", re.IGNORECASE)
_NUMBER = re.compile(r"\s*[+-]?(?:\d{1,12}\.?\d{0,12}|\.\d{1,12})\s*")


class LoraTagError(Exception):
    """A tag that cannot be parsed; the text is a sentence for the person."""


def extract_lora_tags(prompt: str) -> tuple[str, list[JobLora]]:
    """The prompt without its tags, and the LoRAs that they name, with the keys that they state. Raises LoraTagError."""
    tags = [_parse_tag(match[0], match[1], match[2]) for match in _TAG.finditer(prompt)]
    return (_TAG.sub("", prompt).strip() if tags else prompt), tags


def find_lora_tag(text: str) -> str | None:
    """The first tag in the text."""
    match = _TAG.search(text)
    return None if match is None else match[0]


def _parse_tag(tag: str, kind: str, arguments_text: str) -> JobLora:
    if kind.lower() == "hypernet":
        raise LoraTagError(f"{tag} names a hypernetwork, which indexd does not support; remove it")
    name, *arguments = arguments_text.split(":")
    if not name.strip():
        raise LoraTagError(f"{tag} names no LoRA; write <lora:name:0.8>")
    by_position = [argument for argument in arguments if "=" not in argument]
    by_name = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    if unknown := sorted(by_name.keys() - {"te", "unet", "lbw"}):
        raise LoraTagError(f"{tag}: there is no {unknown[0]!r}; there are te, unet, lbw")
    if len(by_position) > 2:
        raise LoraTagError(f"{tag}: there are at most two weights, for the text encoders and for the UNet")
    text_weight = _parse_weight(tag, by_name.get("te", by_position[0] if by_position else None))
    weight = _parse_weight(tag, by_name.get("unet", by_position[1] if len(by_position) > 1 else None))
    stated: dict[str, Any] = {"weight": text_weight if weight is None else weight}
    if weight is not None and text_weight != weight:
        stated["text_weight"] = text_weight
    try:
        if "lbw" in by_name:
            stated["blocks"] = lora_blocks.blocks_from_text(by_name["lbw"])
        return JobLora(name=name.strip(), **{key: value for key, value in stated.items() if value is not None})
    except ValidationError as error:
        (first, *_) = error.errors(include_url=False)
        raise LoraTagError(f"{tag}: {first['loc'][0]} {describe_error(first)}") from None
    except ValueError as error:
        raise LoraTagError(f"<lora:{name.strip()}:…>: {error}") from None


def _parse_weight(tag: str, text: str | None) -> float | None:
    if text is None:
        return None
    if not _NUMBER.fullmatch(text):
        raise LoraTagError(f"{tag}: {text!r} is no number; write <lora:name:0.8>")
    return float(text)
