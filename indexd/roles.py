"""Which model fills which role: the settings' tables turned into what a worker needs, or the reason why a role is off."""

from __future__ import annotations

from pathlib import Path

from indexd.config import Config
from indexd.errors import ModelOff
from indexd.worker.calls import ModelSpec, WorkerSettings
from indexd_schemas.durations import parse_duration
from indexd_schemas.output import RoleState
from indexd_schemas.settings import ROLES


def pulled_folder(config: Config, hub: str) -> Path:
    """Where `indexd models pull` puts the model of a hub name."""
    return config.places.home / "models" / hub.replace("/", "--")


def resolve(config: Config, role: str) -> ModelSpec:
    """The model of a role as the worker needs it. Raises ModelOff with the reason."""
    model = config.settings.models.role(role)
    if model.path:
        path = Path(model.path).expanduser().absolute()
        if not path.exists():
            raise ModelOff(role, f"{path} does not exist; mount it or change [models.{role}] path")
    elif model.hub:
        path = pulled_folder(config, model.hub)
        if not path.is_dir():
            raise ModelOff(role, f"{model.hub} is not on disk; run `indexd models pull {role}`")
    else:
        raise ModelOff(role, f"no model is set; name one under [models.{role}] in {config.places.settings_file}")
    return ModelSpec(
        role=role,
        path=str(path),
        device=model.device,
        query_device=model.query_device,
        dtype=model.dtype,
        keep_alive_seconds=parse_duration(model.keep_alive),
        query_prefix=model.query_prefix,
        architecture=model.architecture,
        batch_size=model.batch_size,
    )


def worker_settings(config: Config) -> WorkerSettings:
    """What a worker is told when it starts: every role that has a model now."""
    models = {}
    for role in ROLES:
        try:
            models[role] = resolve(config, role)
        except ModelOff:
            continue
    generate = config.settings.generate
    return WorkerSettings(
        models=models,
        cache_folder=str(config.places.cache),
        pickle_checkpoints=generate.pickle_checkpoints,
        threads=generate.threads,
        log_level=config.settings.log.level,
    )


def role_states(config: Config) -> list[RoleState]:
    """Every role: on with its path, or off with the reason."""
    states = []
    for role in ROLES:
        try:
            states.append(RoleState(role=role, on=True, detail=resolve(config, role).path))
        except ModelOff as off:
            states.append(RoleState(role=role, on=False, detail=off.reason))
    return states
