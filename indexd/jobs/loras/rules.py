"""Which LoRAs may work together: the limits of the settings and what the registry says of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from indexd.jobs.parsing.validation import FieldError
from indexd.jobs.parsing.yaml_guard import FieldPath
from indexd_schemas.recipe import LoraRef
from indexd_schemas.registered_lora import RegisteredLora
from indexd_schemas.settings import LoraRuleSettings

LORA_TYPES = ("character", "style", "detail", "background")
_SECTION = "[generate.loras]"


@dataclass(frozen=True, slots=True)
class ResolvedLora:
    """A LoRA of a job, what is registered of it, and where in the job it is named."""

    lora: LoraRef
    entry: RegisteredLora | None
    path: FieldPath


def check_lora_rules(loras: Sequence[ResolvedLora], rules: LoraRuleSettings, themes: Sequence[str]) -> None:
    """Raises FieldError for LoRAs that the settings or the registry do not allow together."""
    for use in loras:
        if use.entry is not None:
            _check_one(use, use.entry, len(loras), {theme.casefold() for theme in themes})
    if not loras:
        return
    place: FieldPath = ("loras",) if any(use.path[0] == "loras" for use in loras) else loras[0].path
    if len(loras) > rules.max_count:
        raise FieldError(
            place, f"{place[0]}: {len(loras)} LoRAs; at most {rules.max_count} work together ({_SECTION} max_count)"
        )
    total = sum(abs(use.lora.weight) for use in loras)
    if total > rules.max_weight_sum + 1e-9:
        raise FieldError(
            place,
            f"{place[0]}: the weights of the LoRAs add up to {total:g}; "
            f"at most {rules.max_weight_sum:g} are allowed ({_SECTION} max_weight_sum)",
        )
    for kind in LORA_TYPES:
        names = [use.lora.name for use in loras if use.entry is not None and use.entry.type == kind]
        limit: int = getattr(rules, f"max_{kind}")
        if len(names) > limit:
            text = f"{len(names)} LoRAs of type {kind} ({', '.join(names)}); at most {limit} ({_SECTION} max_{kind})"
            raise FieldError(place, f"{place[0]}: {text}")


def _check_one(resolved: ResolvedLora, entry: RegisteredLora, count: int, themes: set[str]) -> None:
    name, weight = resolved.lora.name, resolved.lora.weight
    if not entry.min_weight <= weight <= entry.max_weight:
        raise _field_error(
            resolved,
            f"{name} is registered for weights from {entry.min_weight:g} to {entry.max_weight:g} (got {weight:g})",
        )
    if count > 1 and not entry.stackable:
        raise _field_error(resolved, f"{name} goes with no other LoRA (stackable: false in the registry)")
    if unfit := [theme for theme in entry.excludes if theme.casefold() in themes]:
        raise _field_error(resolved, f"{name} does not fit the theme {unfit[0]} (excludes in the registry)")
    if themes and entry.themes and not themes & {theme.casefold() for theme in entry.themes}:
        raise _field_error(resolved, f"{name} fits the themes {', '.join(entry.themes)} alone (themes in the registry)")


def _field_error(resolved: ResolvedLora, text: str) -> FieldError:
    return FieldError(resolved.path, f"{'.'.join(str(part) for part in resolved.path[:1])}: {text}")
