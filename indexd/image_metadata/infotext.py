"""The infotext of AUTOMATIC1111's web UI: prompt, negative prompt, and one line of `Key: value` settings.

Nothing escapes in it, so it is split from its end: a prompt may itself hold the words "Steps:" or "Negative prompt:".
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from indexd.image_metadata import coerce
from indexd.image_metadata.model import MetadataLora

_SETTINGS_LINE = re.compile(r"^[ \t]*Steps: *\d+", re.MULTILINE)
_SETTINGS_SHAPE = re.compile(r"\bSeed: *\d+.*|\bSampler: *\w+.*|\bCFG scale: *[\d.]+.*", re.IGNORECASE)
_NEGATIVE = re.compile(r"^Negative prompt:", re.MULTILINE | re.IGNORECASE)
_TEMPLATE = re.compile(r"^(Template|Negative Template):", re.MULTILINE)
_KEY = re.compile(r"([A-Za-z][\w .\-/+()&]{0,80}?):(?:[ \t]|(?=[,\"{\[\n])|$)")
_NEXT = re.compile(r",\s*(?=[A-Za-z][\w .\-/+()&]{0,80}?:(?:[ \t]|$))|\n")
_LORA = re.compile(r"<(?:lora|lyco|loha):([^:<>]{1,300})(?::([^<>]{0,100}))?>")
_NAMED_WEIGHT = re.compile(r"([\w.]+)=(-?[\d.]+)")

_SPACES = re.compile(r"[ \t]*")
_BETWEEN = re.compile(r"[\s,]*")

SETTINGS_MAX = 500
SETTINGS_CHARACTERS_MAX = 1 << 18


@dataclass(frozen=True, slots=True)
class Infotext:
    """The three parts of an infotext. `negative_prompt` is None where the text has no such line."""

    prompt: str
    negative_prompt: str | None
    settings: dict[str, str]
    template: str | None = None


def split_infotext(text: str) -> Infotext | None:
    """The parts of an infotext, or None when the text is none (it has no line of settings)."""
    text = text[: coerce.TEXT_MAX * 4].replace("\r\n", "\n")
    start = _settings_start(text)
    if start is None:
        return None
    head, tail = text[:start], text[start:]
    template = None
    if match := _TEMPLATE.search(tail):
        tail, rest = tail[: match.start()], tail[match.start() :]
        template = rest.partition("Negative Template:")[0].removeprefix("Template:").strip() or None
    settings = parse_settings(tail)
    head, template_in_head = _cut_template(head, is_sdnext=settings.get("App") == "SD.Next")
    prompt, negative = split_negative(head)
    return Infotext(prompt.strip(), negative, settings, template or template_in_head)


def _settings_start(text: str) -> int | None:
    last = None
    for match in _SETTINGS_LINE.finditer(text):
        # The template that follows the settings may itself have a line that looks like them.
        if last is not None and _TEMPLATE.search(text, last, match.start()):
            break
        last = match.start()
    if last is not None:
        return last
    # Some programs begin the line with another key: then it is the last line, and it must state several settings.
    start = text.rstrip().rfind("\n") + 1
    return start if len(_SETTINGS_SHAPE.findall(text[start : start + 4000].replace(",", "\n"))) >= 2 else None


def _cut_template(head: str, *, is_sdnext: bool) -> tuple[str, str | None]:
    """Cut off the template that SD.Next writes between the negative prompt and the settings; it may have many lines."""
    negative = max((match.end() for match in _NEGATIVE.finditer(head)), default=None)
    if negative is None and not is_sdnext:
        return head, None  # a prompt may have such a line itself
    match = _TEMPLATE.search(head, negative or 0)
    if match is None:
        return head, None
    stated = head[match.start() :].partition("Negative Template:")[0].removeprefix("Template:").strip()
    return head[: match.start()], stated or None


def split_negative(head: str) -> tuple[str, str | None]:
    last = None
    for match in _NEGATIVE.finditer(head):
        last = match
    return (head, None) if last is None else (head[: last.start()], head[last.end() :].strip())


def parse_settings(line: str) -> dict[str, str]:
    """The settings by key; the first one of a key counts. Values may be quoted, or be JSON, or hold commas."""
    line = line[:SETTINGS_CHARACTERS_MAX]
    settings: dict[str, str] = {}
    place = 0
    for _ in range(SETTINGS_MAX):
        place = _skip(_BETWEEN, line, place)
        if match := _KEY.match(line, place):
            value, place = _parse_value(line, match.end())
            settings.setdefault(match[1].strip(), value)
        elif following := _NEXT.search(line, place):
            place = following.end()
        else:
            break
    return settings


def _skip(pattern: re.Pattern[str], line: str, offset: int) -> int:
    match = pattern.match(line, offset)
    return match.end() if match else offset


def _parse_value(line: str, offset: int) -> tuple[str, int]:
    """One value and the place behind it and its comma."""
    offset = _skip(_SPACES, line, offset)
    if line[offset : offset + 1] in ('"', "{", "["):
        try:
            found, end = json.JSONDecoder(strict=False).raw_decode(line, offset)
        except (ValueError, RecursionError):
            pass
        else:
            end_of_value = _skip(_SPACES, line, end)
            if line[end_of_value : end_of_value + 1] in ("", ",", "\n"):
                return (found if isinstance(found, str) else line[offset:end]), end_of_value
    following = _NEXT.search(line, offset)
    end = following.start() if following else len(line)
    return line[offset:end].strip().rstrip(","), end


def parse_loras(prompt: str, hashes: str | None, weights: str | None = None) -> tuple[MetadataLora, ...]:
    """The LoRAs that a prompt applies (`<lora:name:0.8>`, `<lora:name:te=1:unet=0.5>`), with their hashes.

    `hashes` and `weights` are lists of `name: value` (A1111's `Lora hashes`, Fooocus' `Lora weights`); what stands only
    there was applied too.
    """
    by_name, weight_of = parse_pairs(hashes), parse_pairs(weights)
    uses: dict[str, MetadataLora] = {}
    for match in _LORA.finditer(prompt[: coerce.TEXT_MAX]):
        name = coerce.parse_model_name(match[1])
        if name and name not in uses:
            weight, text_weight = _parse_weights(match[2] or "")
            uses[name] = MetadataLora(name, weight, text_weight, by_name.get(match[1].strip()))
    for stated in (*by_name, *weight_of):
        uses.setdefault(
            stated, MetadataLora(stated, coerce.parse_float(weight_of.get(stated)), None, by_name.get(stated))
        )
    return tuple(uses.values())


def parse_pairs(listed: str | None) -> dict[str, str]:
    """A list of `name: value`, as A1111 writes the hashes of LoRAs and embeddings; the first of a name counts."""
    found: dict[str, str] = {}
    for pair in (listed or "").split(","):
        name, _, value = pair.partition(":")
        if value.strip():
            found.setdefault(name.strip(), value.strip())
    return found


def _parse_weights(arguments: str) -> tuple[float | None, float | None]:
    """Weight of the UNet and of the text encoders: A1111's first plain number is the text encoder's, and both by default."""
    named = {name: coerce.parse_float(value) for name, value in _NAMED_WEIGHT.findall(arguments)}
    plain = [found for part in arguments.split(":") if (found := coerce.parse_float(part)) is not None]
    text_weight = named.get("te", plain[0] if plain else 1.0)
    weight = named.get("unet", plain[1] if len(plain) > 1 else text_weight)
    return weight, None if text_weight == weight else text_weight
