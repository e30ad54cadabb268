"""Checks the models: which roles are on, and whether their files are complete and loadable."""

from __future__ import annotations

import json
import os
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

from indexd.api.connect import find_daemon
from indexd.api.operations.status import status as fetch_status
from indexd.config import Config
from indexd.doctor.finding import DoctorFinding, failed, ok, warning
from indexd.model_roles import role_states
from indexd.worker.calls import FACES
from indexd_schemas.api.output import RoleState

# The limit of the safetensors format.
MAX_HEADER_BYTES = 100_000_000
_WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth")


def check_models(config: Config) -> Iterator[DoctorFinding]:
    """Check each role. A running daemon also reports the models that it could not load."""
    remote = find_daemon(config)
    states = role_states(config) if remote is None else remote.call(fetch_status).roles
    local_states = {state.role: state for state in role_states(config)}
    for state in states:
        name = f"model {state.role}"
        if not local_states[state.role].on:
            reason, _, cure = local_states[state.role].detail.partition("; ")
            yield warning(name, f"off, because {reason}", cure or "its index tasks stay pending")
        elif problem := next(filter(None, map(find_broken_file, _model_paths(config, local_states[state.role]))), None):
            yield failed(name, problem, "copy or download it again")
        elif not state.on:
            yield failed(
                name, f"it could not be loaded: {state.detail}", f"`indexd models verify {state.role}` tries again"
            )
        else:
            yield ok(name, f"{state.detail} (complete; `indexd models verify {state.role}` loads it)")


def _model_paths(config: Config, state: RoleState) -> list[Path]:
    """The model files of a role. The detail of `faces` has more than paths, so the settings are read."""
    if state.role == FACES:
        return [Path(detector.path) for detector in config.settings.faces.detectors]
    return [Path(state.detail)]


def find_broken_file(model: Path) -> str | None:
    """The problem of a truncated or unreadable weight file, or None. Does not read the weights.

    A .safetensors file starts with the length of its JSON header (8 bytes, little endian); the header has the end of the
    last tensor. A .pt file is a ZIP archive with its directory at the end.
    """
    files = sorted(file for file in model.rglob("*") if file.suffix in _WEIGHT_SUFFIXES) if model.is_dir() else [model]
    for file in files:
        try:
            if file.suffix in (".pt", ".pth"):
                with file.open("rb") as stream:
                    start = stream.read(2)
                if not start or (start == b"PK" and not zipfile.is_zipfile(file)):
                    return f"{file} is truncated"
                continue
            if file.suffix != ".safetensors":
                continue
            size = file.stat().st_size
            with file.open("rb") as stream:
                (length,) = struct.unpack("<Q", stream.read(8))
                if length > min(MAX_HEADER_BYTES, size):
                    return f"{file} is not a safetensors file, or is truncated"
                head = json.loads(stream.read(length))
            end = max((entry["data_offsets"][1] for key, entry in head.items() if key != "__metadata__"), default=0)
        except (OSError, struct.error, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            return f"{file} cannot be read: {os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error}"
        if size < 8 + length + end:
            return f"{file} is truncated: {size} of {8 + length + end} bytes"
    return None
