"""Descriptions of model files on disk, by path, size and mtime: a list of a thousand LoRAs need not be read again each time."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from indexd.model_headers.description import DESCRIPTION_VERSION, LoraDescription, ModelDescription

log = logging.getLogger(__name__)

CACHE_NAME = "model-descriptions.json"
Stamp = tuple[str, int, int]
"""Path, size in bytes and mtime in nanoseconds."""


def read_descriptions(folder: Path) -> dict[Stamp, ModelDescription]:
    """All descriptions in the cache folder; none where the file is missing, damaged or of another version."""
    try:
        stored: Any = json.loads((folder / CACHE_NAME).read_text("utf-8"))
        if stored["version"] != DESCRIPTION_VERSION:
            return {}
        return {(path, size, mtime): _from_json(one) for path, size, mtime, one in stored["files"]}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return {}


def write_descriptions(folder: Path, found: Mapping[Stamp, ModelDescription]) -> None:
    """Replace the file. A failure costs the time to describe the files again."""
    target = folder / CACHE_NAME
    scratch = target.with_name(f"{CACHE_NAME}.{os.getpid()}")
    files = [[*stamp, dataclasses.asdict(one)] for stamp, one in found.items()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        scratch.write_text(json.dumps({"version": DESCRIPTION_VERSION, "files": files}), "utf-8")
        scratch.replace(target)
    except OSError as error:
        log.warning("the descriptions of model files cannot be kept in %s (%s); they are made again", target, error)


def _from_json(stored: dict[str, Any]) -> ModelDescription:
    lora = stored["lora"]
    if lora is not None:
        lists = {key: tuple(lora[key]) for key in ("forms", "components")}
        lora = LoraDescription(**(lora | lists))
    return ModelDescription(**(stored | {"lora": lora}))
