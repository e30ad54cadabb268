"""Whether a file is the very picture that an item of a job was to become: told by the recipe inside it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indexd.errors import NotAPicture, NotRegular, raise_machines_fault
from indexd.images.read import read
from indexd.watch.regular import open_regular

RECIPE_CHUNK = "png:indexd"
PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"


@dataclass(frozen=True, slots=True)
class Ours:
    """A picture of ours: its content, and the scores that it states."""

    content_hash: bytes
    scores: Mapping[str, float]


def our_picture(path: Path, recipe: Mapping[str, Any]) -> Ours | None:
    """The picture at `path` if it was made from `recipe` (its `job` included) and is whole, else None.

    What the worker fills in (hashes, number format, version, scores) is not compared: None in `recipe` stands for anything.
    Raises OSError where the machine keeps it from being read: that is no answer, and a second picture must not be made.
    """
    try:
        with open_regular(os.fsencode(path)) as file:
            size = os.fstat(file.fileno()).st_size
            facts = read(file, size, path.name)
            file.seek(max(0, size - len(PNG_END)))
            whole = file.read() == PNG_END
    except OSError as error:
        raise_machines_fault(error)
        return None
    except (NotRegular, NotAPicture):
        return None
    text = next((chunk.text for chunk in facts.metadata.raw if chunk.key == RECIPE_CHUNK), None)
    if not whole or text is None:
        return None
    try:
        inside = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not _agrees(recipe, inside):
        return None
    return Ours(facts.content_hash, {one.name: one.value for one in facts.metadata.scores})


def _agrees(wanted: Any, inside: Any) -> bool:
    if wanted is None:
        return True
    if isinstance(wanted, Mapping):
        return isinstance(inside, Mapping) and all(_agrees(value, inside.get(key)) for key, value in wanted.items())
    if isinstance(wanted, (list, tuple)):
        same = isinstance(inside, list) and len(inside) == len(wanted)
        return same and all(_agrees(one, other) for one, other in zip(wanted, inside, strict=True))
    return bool(wanted == inside)
