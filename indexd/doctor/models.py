"""The models: which roles are on, whether their files are complete, and whether the daemon could load them."""

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

# Header limit of the format.
MAX_HEADER_BYTES = 100_000_000
_WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth")


def check_models(config: Config) -> Iterator[DoctorFinding]:
    """Each role. The running daemon knows which existing models it could not load."""
    remote = find_daemon(config)
    states = role_states(config) if remote is None else remote.call(fetch_status).roles
    there = {state.role: state for state in role_states(config)}
    for state in states:
        name = f"model {state.role}"
        if not there[state.role].on:
            reason, _, cure = there[state.role].detail.partition("; ")
            yield warning(name, f"off, because {reason}", cure or "its index tasks wait")
        elif problem := next(filter(None, map(find_broken_file, _model_paths(config, there[state.role]))), None):
            yield failed(name, problem, "copy or download it again")
        elif not state.on:
            yield failed(
                name, f"it could not be loaded: {state.detail}", f"`indexd models verify {state.role}` tries again"
            )
        else:
            yield ok(name, f"{state.detail} (whole; `indexd models verify {state.role}` loads it)")


def _model_paths(config: Config, state: RoleState) -> list[Path]:
    """Files of the role; faces report more than their paths."""
    if state.role == FACES:
        return [Path(detector.path) for detector in config.settings.faces.detectors]
    return [Path(state.detail)]


def find_broken_file(model: Path) -> str | None:
    """Problem of a model's weight files seen from outside; None when there is none.

    A .safetensors file starts with the length of its header (8 bytes, little endian) and the JSON header, which states where the last
    tensor ends. A .pt file is a ZIP archive with its directory at the end. So a truncated download shows without reading the rest.
    """
    files = sorted(file for file in model.rglob("*") if file.suffix in _WEIGHT_SUFFIXES) if model.is_dir() else [model]
    for file in files:
        try:
            if file.suffix in (".pt", ".pth"):
                with file.open("rb") as stream:
                    start = stream.read(2)
                if not start or (start == b"PK" and not zipfile.is_zipfile(file)):
                    return f"{file} broke off"
                continue
            if file.suffix != ".safetensors":
                continue
            size = file.stat().st_size
            with file.open("rb") as stream:
                (length,) = struct.unpack("<Q", stream.read(8))
                if length > min(MAX_HEADER_BYTES, size):
                    return f"{file} is no safetensors file, or broke off"
                head = json.loads(stream.read(length))
            end = max((entry["data_offsets"][1] for key, entry in head.items() if key != "__metadata__"), default=0)
        except (OSError, struct.error, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            return f"{file} cannot be read: {os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error}"
        if size < 8 + length + end:
            return f"{file} broke off: {size} of {8 + length + end} bytes are there"
    return None
