"""Settings -> what the workers are told, and which roles are on. Looks only at names on disk; loads nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

from indexd.config import Config
from indexd.worker.calls import ModelSpec, WorkerSettings
from indexd_schemas.durations import parse_duration
from indexd_schemas.settings import ROLES, Model

NO_MODEL = "no model is set for it; name one under [models.{role}] in the settings"


def hub_folder(cache: Path, hub: str) -> Path:
    """Where `indexd models pull` puts the model of that hub name, complete or not at all."""
    return cache / "models" / hub.replace("/", "--")


def worker_settings(config: Config, log_level: str = "INFO") -> WorkerSettings:
    """What every worker is told: each role that names a model, whether that lies on disk yet or not."""
    cache = config.places.cache
    specs = {role: _spec(role, config.settings.models.role(role), cache) for role in ROLES}
    return WorkerSettings(
        models={role: spec for role, spec in specs.items() if spec is not None},
        cache_folder=str(cache),
        pickle_checkpoints=config.settings.generate.pickle_checkpoints,
        threads=config.settings.generate.threads,
        log_level=log_level,
    )


def role_problem(settings: WorkerSettings, role: str) -> str | None:
    """Why `role` is off, as the end of the sentence "… is off, because …"; None = nothing speaks against it."""
    spec = settings.models.get(role)
    if spec is None:
        return NO_MODEL.format(role=role)
    if os.path.exists(spec.path):
        return None
    if Path(spec.path).parent == Path(settings.cache_folder) / "models":
        return f"its model has not been fetched; run `indexd models pull {role}`"
    return f"there is nothing at {spec.path}"


def model_stamp(path: str) -> str:
    """What the files of a model look like from outside (names, sizes, times): equal = certainly not replaced."""
    root = Path(path)
    files = sorted(root.rglob("*")) if root.is_dir() else [root]
    digest = blake2b(digest_size=16)
    for file in files:
        if file.is_file():
            stat = file.stat()
            digest.update(os.fsencode(file) + b"\0%d\0%d\n" % (stat.st_size, stat.st_mtime_ns))
    return digest.hexdigest()


def role_problems(settings: WorkerSettings) -> Mapping[str, str | None]:
    """Every role with the reason for which it is off, or None."""
    return {role: role_problem(settings, role) for role in ROLES}


def _spec(role: str, model: Model, cache: Path) -> ModelSpec | None:
    if model.path:
        path = Path(model.path).expanduser().absolute()
    elif model.hub:
        path = hub_folder(cache, model.hub)
    else:
        return None
    return ModelSpec(
        role=role,
        path=str(path),
        device=model.device,
        dtype=model.dtype,
        keep_alive_seconds=parse_duration(model.keep_alive),
        query_prefix=model.query_prefix,
        architecture=model.architecture,
        query_device=model.query_device,
        batch_size=model.batch_size,
    )
