"""Checks the models: which roles are on, and whether their files are complete and loadable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from indexd.api.connect import find_daemon
from indexd.api.operations.status import status as fetch_status
from indexd.config import Config
from indexd.doctor.finding import DoctorFinding, failed, ok, warning
from indexd.errors import IndexdError
from indexd.jobs.loras.registry import list_loras
from indexd.model_files import LISTED_KINDS, list_model_files
from indexd.model_inspection.inspector import describe_model_files
from indexd.model_roles import role_states
from indexd.worker.calls import FACES
from indexd_schemas.api.output import RoleState

_NAMED_FILES = 5


def check_models(config: Config) -> Iterator[DoctorFinding]:
    """Check each role. A running daemon also reports the models that it could not load."""
    remote = find_daemon(config)
    states = role_states(config) if remote is None else remote.call(fetch_status).roles
    local_states = {state.role: state for state in role_states(config)}
    for state in states:
        name = f"model {state.role}"
        if not local_states[state.role].on:
            reason, _, advice = local_states[state.role].detail.partition("; ")
            yield warning(name, f"off, because {reason}", advice or "its index tasks stay pending")
        elif damage := _find_damage(_model_paths(config, local_states[state.role])):
            yield failed(name, damage, "copy or download it again")
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


def _find_damage(paths: Sequence[Path]) -> str | None:
    """What is wrong with the first damaged file, or None. Reads headers, no weights."""
    described = zip(paths, describe_model_files(paths), strict=True)
    return next((f"{path} {found.problem}" for path, found in described if found.problem), None)


def check_model_files(config: Config) -> Iterator[DoctorFinding]:
    """Check the model files that jobs may name, LoRAs included, as admission does; yields nothing without any."""
    files = list_model_files(config, (*LISTED_KINDS, "lora"))
    unusable = [file for file in files if file.problem]
    if unusable:
        named = "; ".join(f"{file.kind} {file.name} {file.problem}" for file in unusable[:_NAMED_FILES])
        more = f"; and {len(unusable) - _NAMED_FILES} more" if len(unusable) > _NAMED_FILES else ""
        yield warning(
            "model files",
            f"jobs cannot use {len(unusable)} of {len(files)}: {named}{more}",
            "`indexd models list` and `indexd loras` list all; mend or remove these",
        )
    elif files:
        yield ok("model files", f"{len(files)}, none of them damaged or in the wrong folder")


def check_loras(config: Config) -> Iterator[DoctorFinding]:
    """Check the registry; yields nothing without LoRAs."""
    try:
        found = list_loras(config)
    except IndexdError as error:
        yield failed("loras", str(error), "correct the file; docs/loras.md describes the format")
        return
    missing = [lora.name for lora in found.loras if lora.path is None]
    if missing:
        text = f"{len(missing)} registered LoRAs have no file, the first is {missing[0]}"
        yield warning("loras", text, f"put the file into a LoRA folder, or remove the entry from {found.registry}")
    elif found.loras:
        registered = sum(lora.registered is not None for lora in found.loras)
        yield ok("loras", f"{len(found.loras)}, of which {registered} registered in {found.registry}")
