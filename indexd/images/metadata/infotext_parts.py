"""What an infotext lists: LoRAs, embeddings, Civitai's resources, ControlNets, detailers.

The functions that also say under which keys they found what they give spare the others from being told twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from indexd.images.facts import ControlUse, DetailerUse, EmbeddingUse, LoraUse, ResourceUse
from indexd.images.metadata import infotext, values

_CONTROL = re.compile(r"ControlNet(?: \d+)?")
# Before May 2023 each unit had several keys: `ControlNet 0 Model`, `ControlNet-1 Module`, `ControlNet Weight`.
_CONTROL_KEY = re.compile(
    r"ControlNet(?:[ -](\d+))? (Enabled|Preprocessor|Module|Model|Weight|(?:Starting|Ending) Step|Guidance (?:Start|End))"
)
_DETAILER = re.compile(r"ADetailer (model|prompt|negative prompt|denoising strength)(?: (\d+)(?:st|nd|rd|th))?")
_HASHED = re.compile(r" \[[0-9a-fA-F]{6,64}\]$")


def unhashed(name: str | None) -> str | None:
    """A model as `name [hash]` has it, without the hash."""
    return values.model_name(_HASHED.sub("", name.strip())) if name else None


def loras(parts: infotext.Infotext, given: dict[str, str], resources: list[dict[str, object]]) -> tuple[LoraUse, ...]:
    uses = list(infotext.loras_of(parts.prompt, given.get("Lora hashes"), given.get("Lora weights")))
    if not uses:
        uses = [LoraUse(name, None, None, digest) for name, digest in _hashes(given, "lora:").items()]
    for item in resources:
        name = values.stated(item.get("modelName"))
        if name and str(item.get("type", "")).lower() in ("lora", "lycoris", "locon", "dora"):
            uses.append(LoraUse(name, values.number(item.get("weight"))))
    return tuple(uses)


def _hashes(given: dict[str, str], kind: str) -> dict[str, str]:
    """The entries of `Hashes` whose key begins so: `lora:name`, `embed:name`."""
    listed = values.record(values.json_of(given.get("Hashes", "")))
    return {key[len(kind) :]: str(digest) for key, digest in listed.items() if key.lower().startswith(kind)}


def embeddings(given: dict[str, str], resources: list[dict[str, object]]) -> tuple[EmbeddingUse, ...]:
    found = {name: EmbeddingUse(name, digest) for name, digest in infotext.pairs(given.get("TI hashes")).items()}
    for name, digest in _hashes(given, "embed:").items():
        found.setdefault(name, EmbeddingUse(name, digest))
    for item in resources:
        stated = values.stated(item.get("modelName"))
        if stated and str(item.get("type", "")).lower() in ("embed", "embedding", "textualinversion"):
            found.setdefault(stated, EmbeddingUse(stated))
    return tuple(found.values())


def resources_of(resources: list[dict[str, object]]) -> Iterator[ResourceUse]:
    for item in resources:
        address = item.get("air") or item.get("modelVersionId")
        if isinstance(address, str | int) and not isinstance(address, bool):
            yield ResourceUse(
                str(address)[:300],
                values.stated(item.get("type")),
                values.stated(item.get("modelName")),
                values.stated(item.get("modelVersionName")),
                values.number(item.get("weight")),
            )


def controls(given: dict[str, str]) -> tuple[tuple[ControlUse, ...], set[str]]:
    """The ControlNet units, and the keys that they were found under."""
    uses = {key: _control(text) for key, text in given.items() if _CONTROL.fullmatch(key)}
    units: dict[str, dict[str, str]] = {}
    keys = set(uses)
    for key, value in given.items():
        if match := _CONTROL_KEY.fullmatch(key):
            units.setdefault(match[1] or "0", {})[match[2]] = value
            keys.add(key)
    spread = [_control_of(unit) for unit in units.values() if unit.get("Enabled", "True") == "True"]
    return (*uses.values(), *(use for use in spread if use.model or use.module)), keys


def _control(text: str) -> ControlUse:
    return _control_of(infotext.settings_of(text))


def _control_of(unit: dict[str, str]) -> ControlUse:
    start, end = (
        unit.get("Guidance Start") or unit.get("Starting Step"),
        unit.get("Guidance End") or unit.get("Ending Step"),
    )
    if match := re.fullmatch(r"\(([\d.]+), ([\d.]+)\)", unit.get("Timestep Range", "")):
        start, end = match[1], match[2]
    return ControlUse(
        unhashed(unit.get("Model")),
        values.stated(unit.get("Module") or unit.get("Preprocessor")),
        values.number(unit.get("Weight")),
        values.number(start),
        values.number(end),
    )


def detailers(given: dict[str, str]) -> tuple[tuple[DetailerUse, ...], set[str]]:
    """ADetailer's passes (its second and further ones have `2nd`, `3rd` behind each key), and the keys they were found under."""
    units: dict[int, dict[str, str]] = {}
    found: dict[int, set[str]] = {}
    for key, value in given.items():
        if match := _DETAILER.fullmatch(key):
            number = int(match[2] or 1)
            units.setdefault(number, {})[match[1]] = value
            found.setdefault(number, set()).add(key)
    stated = sorted(number for number, unit in units.items() if unit.get("model"))
    uses = tuple(
        DetailerUse(
            values.model_name(units[number]["model"]),
            values.stated(units[number].get("prompt")),
            values.stated(units[number].get("negative prompt")),
            values.number(units[number].get("denoising strength")),
        )
        for number in stated
    )
    return uses, set().union(*(found[number] for number in stated))
