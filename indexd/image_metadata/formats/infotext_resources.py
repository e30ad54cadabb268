"""What an infotext lists: LoRAs, embeddings, Civitai's resources, ControlNets, detailers.

Functions that return keys as well name the settings that they used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from indexd.image_metadata import coerce, infotext
from indexd.image_metadata.model import ControlUse, DetailerUse, EmbeddingUse, MetadataLora, ResourceUse

_CONTROL = re.compile(r"ControlNet(?: \d+)?")
# Before May 2023 each unit had several keys: `ControlNet 0 Model`, `ControlNet-1 Module`, `ControlNet Weight`.
_CONTROL_KEY = re.compile(
    r"ControlNet(?:[ -](\d+))? (Enabled|Preprocessor|Module|Model|Weight|(?:Starting|Ending) Step|Guidance (?:Start|End))"
)
_DETAILER = re.compile(r"ADetailer (model|prompt|negative prompt|denoising strength)(?: (\d+)(?:st|nd|rd|th))?")
_HASHED = re.compile(r" ?(?:\[([0-9a-fA-F]{6,64})\]|\(([0-9a-fA-F]{6,64})\))$")


def strip_model_hash(name: str | None) -> str | None:
    """The name of a model without the hash that follows it: `name [hash]`, `name(hash)`."""
    return coerce.parse_model_name(_HASHED.sub("", name.strip())) if name else None


def hash_behind_name(name: str | None) -> str | None:
    """The hash that follows the name of a model: `name [hash]`, `name(hash)`."""
    match = _HASHED.search(name.strip()) if name else None
    return (match[1] or match[2]) if match else None


def vae_hash(settings: dict[str, str]) -> str | None:
    """`VAE hash`, else the VAE's entry in `Hashes`: `{"vae": hash}` or `{"vae:name": hash}`."""
    listed = coerce.as_object(coerce.parse_json(settings.get("Hashes", "")))
    in_hashes = next((digest for key, digest in listed.items() if key.lower().split(":")[0] == "vae"), None)
    return coerce.nonempty_text(settings.get("VAE hash")) or coerce.nonempty_text(in_hashes)


def collect_loras(
    parts: infotext.Infotext, settings: dict[str, str], resources: list[dict[str, object]]
) -> tuple[MetadataLora, ...]:
    uses = list(infotext.parse_loras(parts.prompt, settings.get("Lora hashes"), settings.get("Lora weights")))
    hashes = _hashes_of_kind(settings, "lora:")
    if not uses:
        uses = [MetadataLora(name, None, None, digest) for name, digest in hashes.items()]
    uses = [use if use.hash else replace(use, hash=hashes.get(use.name)) for use in uses]
    for item in resources:
        name = coerce.nonempty_text(item.get("modelName"))
        if name and str(item.get("type", "")).lower() in ("lora", "lycoris", "locon", "dora"):
            uses.append(MetadataLora(name, coerce.parse_float(item.get("weight"))))
    return tuple(uses)


def _hashes_of_kind(settings: dict[str, str], kind: str) -> dict[str, str]:
    """The entries of `Hashes` whose key begins so: `lora:name`, `embed:name`."""
    listed = coerce.as_object(coerce.parse_json(settings.get("Hashes", "")))
    return {key[len(kind) :]: str(digest) for key, digest in listed.items() if key.lower().startswith(kind)}


def model_in_hashes(settings: dict[str, str]) -> tuple[str | None, str | None]:
    """Name and hash of the checkpoint in `Hashes`: `{"Model:name": hash}`, or `{"model": hash}` without a name."""
    listed = coerce.as_object(coerce.parse_json(settings.get("Hashes", "")))
    named = next(iter(_hashes_of_kind(settings, "model:").items()), (None, None))
    stated = listed.get("model")
    return coerce.parse_model_name(named[0]), named[1] or coerce.nonempty_text(stated)


def collect_embeddings(settings: dict[str, str], resources: list[dict[str, object]]) -> tuple[EmbeddingUse, ...]:
    found = {
        name: EmbeddingUse(name, digest) for name, digest in infotext.parse_pairs(settings.get("TI hashes")).items()
    }
    for name, digest in _hashes_of_kind(settings, "embed:").items():
        found.setdefault(name, EmbeddingUse(name, digest))
    for item in resources:
        stated = coerce.nonempty_text(item.get("modelName"))
        if stated and str(item.get("type", "")).lower() in ("embed", "embedding", "textualinversion"):
            found.setdefault(stated, EmbeddingUse(stated))
    return tuple(found.values())


def collect_resources(resources: list[dict[str, object]]) -> Iterator[ResourceUse]:
    for item in resources:
        address = item.get("air") or item.get("modelVersionId")
        if isinstance(address, str | int) and not isinstance(address, bool):
            yield ResourceUse(
                str(address)[:300],
                coerce.nonempty_text(item.get("type")),
                coerce.nonempty_text(item.get("modelName")),
                coerce.nonempty_text(item.get("modelVersionName")),
                coerce.parse_float(item.get("weight")),
            )


def collect_controls(settings: dict[str, str]) -> tuple[tuple[ControlUse, ...], set[str]]:
    """The ControlNet units, and the keys that they were found under."""
    uses = {key: _parse_control(text) for key, text in settings.items() if _CONTROL.fullmatch(key)}
    units: dict[str, dict[str, str]] = {}
    keys = set(uses)
    for key, value in settings.items():
        if match := _CONTROL_KEY.fullmatch(key):
            units.setdefault(match[1] or "0", {})[match[2]] = value
            keys.add(key)
    spread = [_build_control(unit) for unit in units.values() if unit.get("Enabled", "True") == "True"]
    return (*uses.values(), *(use for use in spread if use.model or use.module)), keys


def _parse_control(text: str) -> ControlUse:
    return _build_control(infotext.parse_settings(text))


def _build_control(unit: dict[str, str]) -> ControlUse:
    start, end = (
        unit.get("Guidance Start") or unit.get("Starting Step"),
        unit.get("Guidance End") or unit.get("Ending Step"),
    )
    if match := re.fullmatch(r"\(([\d.]+), ([\d.]+)\)", unit.get("Timestep Range", "")):
        start, end = match[1], match[2]
    return ControlUse(
        strip_model_hash(unit.get("Model")),
        coerce.nonempty_text(unit.get("Module") or unit.get("Preprocessor")),
        coerce.parse_float(unit.get("Weight")),
        coerce.parse_float(start),
        coerce.parse_float(end),
        hash_behind_name(unit.get("Model")),
    )


def collect_detailers(settings: dict[str, str]) -> tuple[tuple[DetailerUse, ...], set[str]]:
    """ADetailer's passes (its second and further ones have `2nd`, `3rd` behind each key), and the keys they were found under."""
    units: dict[int, dict[str, str]] = {}
    found: dict[int, set[str]] = {}
    for key, value in settings.items():
        if match := _DETAILER.fullmatch(key):
            number = int(match[2] or 1)
            units.setdefault(number, {})[match[1]] = value
            found.setdefault(number, set()).add(key)
    stated = sorted(number for number, unit in units.items() if unit.get("model"))
    uses = tuple(
        DetailerUse(
            coerce.parse_model_name(units[number]["model"]),
            coerce.nonempty_text(units[number].get("prompt")),
            coerce.nonempty_text(units[number].get("negative prompt")),
            coerce.parse_float(units[number].get("denoising strength")),
        )
        for number in stated
    )
    return uses, set().union(*(found[number] for number in stated))
