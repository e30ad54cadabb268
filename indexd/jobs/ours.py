"""Whether a file is the very picture that an item of a job was to become: told by the recipe inside it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indexd.errors import NotAnImage, NotRegularFile, raise_if_transient
from indexd.images.read import read_image
from indexd.watch.regular import open_regular

RECIPE_CHUNK = "png:indexd"
PNG_TRAILER = b"\x00\x00\x00\x00IEND\xaeB`\x82"


@dataclass(frozen=True, slots=True)
class ExistingOutput:
    """A picture of ours: its content, and the scores that it states."""

    content_hash: bytes
    scores: Mapping[str, float]


def find_existing_output(path: Path, recipe: Mapping[str, Any]) -> ExistingOutput | None:
    """The picture at `path` if it was made from `recipe` (its `job` included) and is whole, else None.

    What the worker fills in (hashes, number format, version, scores) is not compared: None in `recipe` stands for anything.
    Raises OSError where the machine keeps it from being read: that is no answer, and a second picture must not be made.
    """
    try:
        with open_regular(os.fsencode(path)) as file:
            size = os.fstat(file.fileno()).st_size
            facts = read_image(file, size, path.name)
            file.seek(max(0, size - len(PNG_TRAILER)))
            whole = file.read() == PNG_TRAILER
    except OSError as error:
        raise_if_transient(error)
        return None
    except (NotRegularFile, NotAnImage):
        return None
    text = next((chunk.text for chunk in facts.metadata.raw if chunk.key == RECIPE_CHUNK), None)
    if not whole or text is None:
        return None
    try:
        inside = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not _matches_recipe(recipe, inside):
        return None
    return ExistingOutput(facts.content_hash, {one.name: one.value for one in facts.metadata.scores})


def _matches_recipe(wanted: Any, inside: Any) -> bool:
    if wanted is None:
        return True
    if isinstance(wanted, Mapping):
        return isinstance(inside, Mapping) and all(
            _matches_recipe(value, inside.get(key)) for key, value in wanted.items()
        )
    if isinstance(wanted, (list, tuple)):
        same = isinstance(inside, list) and len(inside) == len(wanted)
        return same and all(_matches_recipe(one, other) for one, other in zip(wanted, inside, strict=True))
    return bool(wanted == inside)
