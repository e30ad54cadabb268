"""`slots:` of a template: lists, mappings and files -> the options of each slot, and the keys of the job that an option changes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any

from pydantic import ValidationError

from indexd.jobs.admission.wildcard_files import WildcardSnapshot
from indexd.jobs.parsing.validation import FieldError, format_path
from indexd.jobs.parsing.yaml_guard import FieldPath
from indexd.templates.errors import TemplateSource
from indexd.templates.slots import MAIN_PART, Slot, SlotOption
from indexd.templates.wildcards import AmbiguousWildcard, WildcardValue
from indexd_schemas.jobs.job import Job
from indexd_schemas.jobs.template import SLOT_KEYS, SlotValues
from indexd_schemas.validation_messages import describe_error, quote_value

NEGATIVE_PART = "negative"
_MAIN_NAMES = ("prompt", "main", "text", "content")
_NEGATIVE_NAMES = ("negative", "negative_prompt")
_LORA_NAMES = ("lora", "loras")
_FILE_SUFFIXES = (".yaml", ".yml", ".json")
# What a file of Template System V2 states beside its options.
_FILE_HEADER = frozenset({"version", "name", "description", "type", "variations"})


@dataclass(frozen=True, slots=True)
class JobSlots:
    """The slots of a job by name; `changes` are the keys that an option sets, by slot and label."""

    slots: Mapping[str, Slot] = field(default_factory=dict)
    changes: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)


def read_slots(values: Mapping[str, SlotValues], snapshot: WildcardSnapshot) -> JobSlots:
    """The slots of a template. Raises FieldError, WildcardFileError."""
    slots: dict[str, Slot] = {}
    changes: dict[str, dict[str, Mapping[str, Any]]] = {}
    for name, stated in values.items():
        path: FieldPath = ("template", "slots", name)
        options: list[SlotOption] = []
        for label, value in _entries(stated, path, snapshot):
            option, keys = _option(label, value, path)
            if any(other.label.casefold() == label.casefold() for other in options):
                continue  # a value that is listed twice
            options.append(option)
            if keys:
                changes.setdefault(name, {})[label] = keys
        if not options:
            raise FieldError(path, f"{format_path(path)}: the slot has no options")
        slots[name] = Slot(name, tuple(options))
    return JobSlots(slots, changes)


def with_negative_parts(texts: dict[FieldPath, str], slots: JobSlots) -> dict[FieldPath, str]:
    """The prompts, with the negative parts of the slots that they use added to the negative prompt, where no text names them.

    Raises FieldError for a slot that no text uses.
    """
    added = dict(texts)
    everything = "\n".join(texts.values())
    for name, slot in slots.slots.items():
        if re.search(rf"\{{\s*{re.escape(name)}\s*[}}:\[]", everything) is None:
            path = ("template", "slots", name)
            raise FieldError(path, f"{format_path(path)}: no prompt uses the slot; write {{{name}}} into one")
        use = f"{{{name}:{NEGATIVE_PART}}}"
        if NEGATIVE_PART in slot.part_names and use not in everything.replace(" ", ""):
            negative = added.get(("negative_prompt",), "")
            added["negative_prompt",] = f"{negative}, {use}" if negative else use
    return added


def changed_job(job: Job, choices: Mapping[str, str], slots: JobSlots) -> Job:
    """The job with the keys that the chosen options set; LoRAs are added to its own. Raises FieldError."""
    changes: dict[str, Any] = {}
    loras: list[Any] = []
    last: FieldPath = ()
    for name, by_label in slots.changes.items():
        keys = dict(by_label.get(choices.get(name, ""), {}))
        if keys:
            last = ("template", "slots", name, choices[name])
        loras += keys.pop("loras", [])
        changes |= keys
    if not changes and not loras:
        return job
    data = job.model_dump(exclude_unset=True)
    if "size" in changes:
        data = {key: value for key, value in data.items() if key not in ("width", "height")}
    if loras:
        changes["loras"] = [*data.get("loras", []), *loras]
    try:
        return type(job).model_validate(data | changes)
    except ValidationError as error:
        first = error.errors()[0]
        where = format_path((*last, *first["loc"]))
        raise FieldError(last, f"{where}: {describe_error(first)}") from None


def _entries(stated: SlotValues, path: FieldPath, snapshot: WildcardSnapshot) -> Iterable[tuple[str, Any]]:
    """Labels and values."""
    if isinstance(stated, str):
        return _file_entries(stated, path, snapshot)
    return _labelled(stated)


def _labelled(values: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(values, Mapping):
        return [(str(label), value) for label, value in values.items()]
    return [(_label_of(value), value) for value in values]


def _label_of(value: Any) -> str:
    """The label of a value in a list: its text."""
    if isinstance(value, Mapping):
        return next((str(value[key]) for key in ("label", *_MAIN_NAMES) if key in value), "")
    return str(value)


def _file_entries(stated: str, path: FieldPath, snapshot: WildcardSnapshot) -> Iterable[tuple[str, Any]]:
    if stated.endswith(_FILE_SUFFIXES):
        try:
            data = snapshot.data(stated)
        except LookupError as error:
            raise FieldError(path, f"{format_path(path)}: {error.args[0]}") from None
        if isinstance(data, Mapping) and isinstance(data.get("variations"), Mapping | list):
            data = data["variations"]
        elif isinstance(data, Mapping):
            data = {key: value for key, value in data.items() if key not in _FILE_HEADER}
        if not isinstance(data, Mapping | list):
            raise FieldError(path, f"{format_path(path)}: {stated} contains no list and no mapping")
        return _labelled(data)
    name = stated.removesuffix(".txt")
    try:
        names = snapshot.library.find(name)
    except AmbiguousWildcard as error:
        raise FieldError(path, f"{format_path(path)}: {quote_value(name)} fits several lists: {error}") from None
    if not names:
        raise FieldError(path, f"{format_path(path)}: there is no wildcard {quote_value(name)}{snapshot.nearest(name)}")
    return [(value.source.text, value) for one in names for value in snapshot.library.values(one)]


def _option(label: str, value: Any, path: FieldPath) -> tuple[SlotOption, dict[str, Any]]:
    """One option, and the keys of the job that it sets."""
    if isinstance(value, WildcardValue):
        return SlotOption(label, {MAIN_PART: value.source}, value.weight), {}
    where = format_path(path)
    parts: dict[str, TemplateSource] = {}
    keys: dict[str, Any] = {}
    weight = Fraction(1)
    given = value if isinstance(value, Mapping) else {MAIN_PART: value}
    for key, stated in given.items():
        name = f"{where}, {quote_value(label)}"
        if key == "label":
            continue
        if key == "weight":
            weight = _weight(stated, path, name)
        elif key in _LORA_NAMES and not (isinstance(stated, str) and "<" in stated):
            keys["loras"] = list(stated) if isinstance(stated, Sequence) and not isinstance(stated, str) else [stated]
        elif key in SLOT_KEYS:
            keys[key] = stated
        elif isinstance(stated, str | int | float) and not isinstance(stated, bool):
            part = MAIN_PART if key in _MAIN_NAMES else NEGATIVE_PART if key in _NEGATIVE_NAMES else str(key)
            parts[part] = TemplateSource(f"{where}.{label}", str(stated))
        elif stated is None:
            parts.setdefault(MAIN_PART, TemplateSource(where, ""))
        else:
            raise FieldError(path, f"{name}: the part {quote_value(key)} must be a text")
    return SlotOption(label, parts, weight), keys


def _weight(stated: Any, path: FieldPath, name: str) -> Fraction:
    if isinstance(stated, bool) or not isinstance(stated, int | float) or not 0 <= stated < 1e9:
        raise FieldError(path, f"{name}: weight must be a number from 0")
    return Fraction(Decimal(str(stated)))
