"""Names for the positional `widgets_values` of workflow nodes.

In this order: an object states the names itself; the table of known nodes; the inputs that a newer front end declares
for every widget; else the values are recognised by their type and by the known names of samplers and schedules. What
cannot be recognised without doubt stays unnamed.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any

from indexd.image_metadata import coerce
from indexd.image_metadata.comfyui_graph.input_values import SIDE_MIN_PX, find_size_text
from indexd.image_metadata.comfyui_graph.sampler_names import SAMPLERS, SCHEDULES
from indexd.image_metadata.comfyui_graph.widget_names import AFTER_GENERATE, SEED_CHOICES, WIDGET_NAMES

SEED_MIN = 10_001
"""Without a name, a smaller whole number may as well be steps or a side; 10 000 is the usual last step."""
PROSE_MIN_CHARACTERS = 30

_WEIGHT_FILE = re.compile(r".{1,300}\.(safetensors|ckpt|pth?|bin|gguf|sft)", re.IGNORECASE | re.DOTALL)
_OTHER_FILE = re.compile(r"[^\n]{1,300}\.(png|jpe?g|webp|gif|txt|json|ya?ml|csv|mp4)|https?://\S*", re.IGNORECASE)
_SEED_NAMES = frozenset(("seed", "noise_seed"))


def name_widgets(item: dict[str, Any]) -> dict[str, Any]:
    """The values of a workflow node's widgets by the names that its API form would have."""
    stated = item.get("widgets_values")
    if isinstance(stated, dict):
        return dict(stated)
    if not isinstance(stated, list):
        return {}
    known = WIDGET_NAMES.get(str(item.get("type")))
    if known is not None and len(known) <= len(stated):
        return {name: value for name, value in zip(known, stated, strict=False) if name != AFTER_GENERATE}
    declared = [entry for entry in coerce.as_objects(item.get("inputs")) if "widget" in entry]
    # Older front ends declare only the widgets that were turned into inputs, and those are mostly linked.
    if any(entry.get("link") is None for entry in declared):
        return _in_order([str(entry.get("name")) for entry in declared], stated)
    if known is not None:
        return _in_order(known, stated)
    if len(stated) == 1:
        return {"value": stated[0], **_recognise(item, stated)}
    return _recognise(item, stated)


def _in_order(names: Sequence[str], stated: list[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    place = 0
    after_seed = False
    for name in names:
        if name == AFTER_GENERATE:
            continue
        if place < len(stated) and after_seed and (stated[place] is None or str(stated[place]) in SEED_CHOICES):
            place += 1
        if place >= len(stated):
            break
        found[name] = stated[place]
        after_seed = name in _SEED_NAMES or (place + 1 < len(stated) and str(stated[place + 1]) in SEED_CHOICES)
        place += 1
    return found


def _recognise(item: dict[str, Any], stated: list[Any]) -> dict[str, Any]:
    """Names for values whose meaning their type, their neighbours and the outputs of the node leave no doubt about."""
    outputs = [
        (str(entry.get("name", "")).lower(), str(entry.get("type"))) for entry in coerce.as_objects(item.get("outputs"))
    ]
    types = {kind for _, kind in outputs}
    takes_model = any(entry.get("type") == "MODEL" for entry in coerce.as_objects(item.get("inputs")))
    return {
        **_lora_rows(stated),
        **_size(stated, outputs),
        **_weights(stated, types, takes_model),
        **_texts(stated, outputs),
        **_seed(stated),
        **_sampling(stated),
    }


def _sampling(stated: list[Any]) -> dict[str, Any]:
    """`[seed, control,] steps, cfg[, denoise], sampler, schedule[, denoise]` anywhere in the list."""
    place = next(
        (at for at in range(len(stated) - 1) if _is_in(stated[at], SAMPLERS) and _is_in(stated[at + 1], SCHEDULES)),
        None,
    )
    if place is None:
        return {}
    found: dict[str, Any] = {"sampler_name": stated[place], "scheduler": stated[place + 1]}
    start = place
    while start and _is_number(stated[start - 1]):
        start -= 1
    numbers = stated[start:place]
    if numbers and _is_seed(numbers[0]):
        numbers = numbers[1:]
    denoise_follows = _is_denoise(stated[place + 2 : place + 4])
    if len(numbers) == 4 or (len(numbers) == 3 and (numbers[2] > 1 or denoise_follows)):
        if _is_whole(numbers[0]) and numbers[0] >= 0:
            found["seed"] = numbers[0]
        numbers = numbers[1:]
    if len(numbers) == 3 and 0 < numbers[2] <= 1:
        found["denoise"] = numbers.pop()
    if len(numbers) == 2 and isinstance(numbers[0], int) and numbers[0] > 0:
        found["steps"], found["cfg"] = numbers
    if denoise_follows:
        found.setdefault("denoise", stated[place + 2])
    return found


def _is_denoise(following: list[Any]) -> bool:
    """Whether a share follows the schedule. A pair of numbers there is the first and the last step."""
    if not following or not _is_number(following[0]) or not 0 < following[0] <= 1:
        return False
    return not (len(following) == 2 and _is_number(following[1]) and following[1] > 1)


def _seed(stated: list[Any]) -> dict[str, Any]:
    """The only seed of a list: a whole number before a choice of what happens after generation, or a large one."""
    places = [
        at for at, value in enumerate(stated[:-1]) if _is_whole(value) and _is_in(stated[at + 1], SEED_CHOICES)
    ] or [at for at, value in enumerate(stated) if _is_seed(value)]
    return {"seed": stated[places[0]]} if len(places) == 1 else {}


def _lora_rows(stated: list[Any]) -> dict[str, Any]:
    """The rows of rgthree's Power Lora Loader, whose API form numbers them from 1: "lora_1"."""
    rows = [value for value in stated if isinstance(value, dict) and isinstance(value.get("lora"), str)]
    return {f"lora_{number}": row for number, row in enumerate(rows, 1)}


def _weights(stated: list[Any], types: set[str], takes_model: bool) -> dict[str, Any]:
    files = [at for at, value in enumerate(stated) if isinstance(value, str) and _WEIGHT_FILE.fullmatch(value)]
    if not files:
        return {}
    first = files[0]
    name = stated[first]
    if "MODEL" in types and not takes_model:
        return {"ckpt_name": name}
    if "MODEL" in types and len(files) == 1:
        weights = [value for value in stated[first + 1 : first + 3] if _is_number(value)]
        return {"lora_name": name, **dict(zip(("strength_model", "strength_clip"), weights, strict=False))}
    for kind, key in (("CONTROL_NET", "control_net_name"), ("VAE", "vae_name"), ("UPSCALE_MODEL", "model_name")):
        if kind in types and len(files) == 1:
            return {key: name}
    return {}


def _texts(stated: list[Any], outputs: list[tuple[str, str]]) -> dict[str, Any]:
    """Texts of a node that gives out texts or conditionings: one text, or a positive and a negative one."""
    wanted = [name for name, kind in outputs if kind in ("STRING", "CONDITIONING")]
    if not wanted:
        return {}
    prose = [value for value in stated if isinstance(value, str) and _is_prose(value)]
    sides = [side for name in wanted for side in ("positive", "negative") if name.startswith(side[:3])]
    if "positive" in sides and "negative" in sides:
        return dict(zip(("positive", "negative"), prose, strict=False)) if len(prose) >= 2 else {}
    return {"text": prose[0]} if len(prose) == 1 else {}


def _size(stated: list[Any], outputs: list[tuple[str, str]]) -> dict[str, Any]:
    if not any(kind == "LATENT" or name in ("width", "height") for name, kind in outputs):
        return {}
    size = find_size_text(stated)
    if size is None:
        pairs = [
            (first, second)
            for first, second in itertools.pairwise(stated)
            if _is_whole(first) and _is_whole(second) and min(first, second) >= SIDE_MIN_PX and not _is_seed(first)
        ]
        size = pairs[0] if len(pairs) == 1 else None
    return {"width": size[0], "height": size[1]} if size else {}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_seed(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and (value >= SEED_MIN or value == -1)


def _is_in(value: object, names: frozenset[str]) -> bool:
    return isinstance(value, str) and value in names


def _is_prose(text: str) -> bool:
    stripped = text.strip()
    if not stripped or _WEIGHT_FILE.fullmatch(stripped[:400]) or _OTHER_FILE.fullmatch(stripped[:400]):
        return False
    if coerce.parse_size(stripped) is not None or stripped[:1] in "{[%":
        return False
    return len(stripped) >= PROSE_MIN_CHARACTERS or ("," in stripped and " " in stripped)
