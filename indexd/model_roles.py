"""Which model fills which role: the settings' tables turned into what a worker needs, or the reason why a role is off."""

from __future__ import annotations

import json
from pathlib import Path

from indexd.config import Config
from indexd.errors import ModelUnavailable
from indexd.worker.calls import CLIP_H, FACES, ControlSpec, DetectorSpec, FacesSpec, ModelSpec, WorkerSettings
from indexd.worker.role_availability import role_problem
from indexd_schemas.api.output import RoleState
from indexd_schemas.durations import parse_duration
from indexd_schemas.model_roles import ROLES

ALL_ROLES = (*ROLES, FACES)


def downloaded_model_folder(config: Config, hub: str) -> Path:
    """Where `indexd models pull` puts the model of a hub name, complete or not at all."""
    return config.paths.home / "models" / hub.replace("/", "--")


def worker_settings(config: Config) -> WorkerSettings:
    """The settings of every worker: each role that names a model, whether that is on disk yet or not."""
    specs = {role: _model_spec(config, role) for role in (*ROLES, *config.settings.stages)}
    generate = config.settings.generate
    return WorkerSettings(
        models={role: spec for role, spec in specs.items() if spec is not None},
        cache_folder=str(config.paths.cache),
        faces=_faces_spec(config),
        control=_control_spec(config),
        pickle_checkpoints=generate.pickle_checkpoints,
        max_megapixels=generate.max_megapixels,
        aesthetic=str(aesthetic_head_path(config) or ""),
        threads=generate.threads,
        log_level=config.settings.log.level,
    )


def aesthetic_head_path(config: Config) -> Path | None:
    """The file of the head that gives the aesthetic score, whether it is there or not; None = there is none."""
    text = config.settings.score.aesthetic
    return Path(text) if text else None


def clip_h_dimension(config: Config) -> int | None:
    """The length of clip_h's vectors, as its folder states it; None where it cannot be read."""
    spec = _model_spec(config, CLIP_H)
    try:
        stated = json.loads((Path(spec.path) / "open_clip_config.json").read_text("utf-8")) if spec else {}
        return int(stated["model_cfg"]["embed_dim"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def require_role(config: Config, role: str) -> None:
    """Raises ModelUnavailable with the reason when the role is off."""
    problem = role_problem(worker_settings(config), role)
    if problem is not None:
        raise ModelUnavailable(role, problem)


def role_states(config: Config) -> list[RoleState]:
    """Every role: on with its path, or off with the reason."""
    settings = worker_settings(config)
    states = []
    for role in (*ALL_ROLES, *config.settings.stages):
        problem = role_problem(settings, role)
        states.append(RoleState(role=role, on=problem is None, detail=problem or _role_location(settings, role)))
    return states


def _role_location(settings: WorkerSettings, role: str) -> str:
    if role != FACES:
        return settings.models[role].path
    return f"{', '.join(detector.path for detector in settings.faces.detectors)}; embedded by {settings.faces.embedder}"


def _faces_spec(config: Config) -> FacesSpec:
    faces = config.settings.faces
    return FacesSpec(
        detectors=tuple(
            DetectorSpec(
                detector.path,
                {
                    name.strip(): (kind or name).strip()
                    for name, _, kind in (one.partition("=") for one in detector.kinds)
                },
                detector.confidence,
                detector.min_size_px,
            )
            for detector in faces.detectors
        ),
        embedder=faces.embedder,
        embedder_path=faces.embedder_path,
        padding=faces.padding,
        background=faces.background,
        batch_size=faces.batch_size,
        keep_alive_seconds=parse_duration(faces.keep_alive),
    )


def _control_spec(config: Config) -> ControlSpec:
    control = config.settings.control
    return ControlSpec(
        control.depth_model,
        control.pose_model,
        control.image_encoder,
        parse_duration(control.keep_alive),
        control.cache_megabytes << 20,
    )


def control_map_models(config: Config) -> dict[str, str]:
    """Where the models lie that make control maps, by type; "" = none is set."""
    control = _control_spec(config)
    return {"depth": control.depth_model, "pose": control.pose_model}


def _model_spec(config: Config, role: str) -> ModelSpec | None:
    model = config.settings.stages.get(role) or config.settings.models.role(role)
    if model.path:
        path = Path(model.path)
    elif model.hub:
        path = downloaded_model_folder(config, model.hub)
    else:
        return None
    return ModelSpec(
        role=role,
        path=str(path),
        hub="" if model.path else model.hub,
        device=model.device,
        query_device=model.query_device,
        dtype=model.dtype,
        keep_alive_seconds=parse_duration(model.keep_alive),
        query_prefix=model.query_prefix,
        architecture=model.architecture,
        batch_size=model.batch_size,
    )
