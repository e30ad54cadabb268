"""Makes control maps: the map of an image that guides a ControlNet, from the cache where it exists.

Serves `MakeControlMap` and every render with controls. Maps without a model import no model library, so that the decode
lane stays small.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from indexd.control_maps import edge_maps
from indexd.control_maps.map_cache import ControlMapCache
from indexd.errors import IndexdError, ModelUnavailable, NotAnImage, NotRegularFile
from indexd.images.decode import open_image
from indexd.images.file_hash import hash_file_hex
from indexd.worker.calls import GENERATOR, ControlMapMade, MakeControlMap
from indexd.worker.session import CallSession
from indexd_schemas.control_types import ControlType, find_control_type

log = logging.getLogger(__name__)

STAGE = "control"
_SETTINGS = {"depth": "depth_model", "pose": "pose_model"}


@dataclass(frozen=True, slots=True)
class ControlMap:
    """A map as RGB; `method` says what made it ("" = the image is its own map), `path` where it lies in the cache."""

    image: Image.Image
    method: str
    path: Path
    cached: bool


@dataclass(frozen=True, slots=True)
class ControlMapSpec:
    """The map that is wanted: of the image at `path`, `size` (width, height) in pixels; None = the image's own.

    Another shape is covered and cropped to the middle, before the map is made.
    """

    path: bytes
    type: ControlType
    size: tuple[int, int] | None = None
    low: int = 100
    high: int = 200


def make_map(call: MakeControlMap, session: CallSession) -> ControlMapMade:
    """The map as a file. Raises IndexdError with a sentence, ModelUnavailable, or OSError where the cache cannot be written."""
    spec = ControlMapSpec(call.path, find_control_type(call.type), call.size, call.low, call.high)
    made = build_control_map(spec, session)
    if not made.path.is_file():
        open_map_cache(session).put(made.path, made.image)
    return ControlMapMade(str(made.path), *made.image.size, made.method, made.cached)


def build_control_map(spec: ControlMapSpec, session: CallSession, content: str | None = None) -> ControlMap:
    """The map, made now or found. `content` is the hash that the image must have.

    Raises NotAnImage, NotRegularFile, OSError, ModelUnavailable, or IndexdError for a type that nothing here makes.
    """
    method = map_method(spec, session)
    found = hash_file_hex(spec.path)
    if content is not None and found != content:
        raise NotAnImage(f"is not the image of the recipe: its hash is {found[:12]}…, not {content[:12]}…")
    cache = open_map_cache(session)
    path = cache.path(found, spec.type.name, method, *(spec.size or ("own", "size")))
    if (kept := cache.get(path)) is not None:
        return ControlMap(kept, method, path, cached=True)
    image = load_fitted_image(spec.path, spec.size, found)
    session.poll()
    made = _render_map(spec, image, session)
    try:
        cache.put(path, made)
    except OSError as error:
        log.warning("the control map cannot be kept in %s (%s)", path.parent, error)
    return ControlMap(made, method, path, cached=False)


def map_method(spec: ControlMapSpec, session: CallSession) -> str:
    """What decides the map besides image and size. Raises IndexdError, ModelUnavailable."""
    kind = spec.type
    if kind.preprocessor is None:
        raise IndexdError(f"nothing here makes {kind.name} maps; give the map itself, with `preprocess: false`")
    if kind.name == "canny":
        return f"canny/{spec.low}-{spec.high}"
    if kind.preprocessor == "opencv":
        return f"{kind.name}/opencv"
    if kind.preprocessor == "":
        return ""
    model_path = _model_path(kind, session)
    cache_folder = session.settings.cache_folder
    if kind.name == "depth":
        from indexd.control_maps.depth_map import depth_identity

        return depth_identity(model_path, cache_folder)
    from indexd.control_maps.pose_map import pose_identity

    return pose_identity(model_path, cache_folder)


def load_fitted_image(path: bytes, size: tuple[int, int] | None, content: str) -> Image.Image:
    """The image at `path` upright as RGB, covering `size` and cropped to it. Raises NotAnImage, NotRegularFile, OSError."""
    image = open_image(path)
    if hash_file_hex(path) != content:
        raise NotAnImage("was changed while it was read")
    if size is None or image.size == size:
        return image
    return ImageOps.fit(image, size, Image.Resampling.LANCZOS)


def open_map_cache(session: CallSession) -> ControlMapCache:
    """The maps of this worker's cache folder."""
    return ControlMapCache(session.settings.cache_folder, session.settings.control.cache_bytes)


def error_text(error: Exception) -> str:
    """Why an image cannot be used, as the end of a sentence that names it."""
    if isinstance(error, NotAnImage | NotRegularFile):
        return str(error)
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror or error}"
    return f"cannot be used: {error}"


def _render_map(spec: ControlMapSpec, image: Image.Image, session: CallSession) -> Image.Image:
    kind = spec.type
    if kind.preprocessor == "":
        return image
    if kind.preprocessor == "opencv":
        pixels = np.asarray(image)
        if kind.name == "canny":
            return Image.fromarray(edge_maps.canny(pixels, spec.low, spec.high))
        makers: dict[str, Callable[[edge_maps.RgbArray], edge_maps.RgbArray]] = {
            "lineart": edge_maps.lineart,
            "softedge": edge_maps.softedge,
            "scribble": edge_maps.scribble,
        }
        return Image.fromarray(makers[kind.name](pixels))
    with _lease_map_model(kind, session) as model:
        made: Image.Image = session.pool.run_with_eviction(lambda: model.render_map(image))
    return made


def _lease_map_model(kind: ControlType, session: CallSession) -> AbstractContextManager[Any]:
    from indexd.control_maps.depth_map import DEPTH_ROLE as DEPTH
    from indexd.control_maps.depth_map import load_depth_model
    from indexd.control_maps.pose_map import POSE_ROLE as POSE
    from indexd.control_maps.pose_map import load_pose_model

    role, load = (DEPTH, load_depth_model) if kind.name == "depth" else (POSE, load_pose_model)
    model_path, device, settings = _model_path(kind, session), _device(session), session.settings
    key = f"{role}|{model_path}|{device}|{map_method(ControlMapSpec(b'', kind), session)}"
    return session.pool.lease(
        role, key, lambda: load(model_path, device, settings.cache_folder), settings.control.keep_alive_seconds
    )


def _model_path(kind: ControlType, session: CallSession) -> str:
    setting = _SETTINGS[kind.name]
    path: str = getattr(session.settings.control, setting)
    if not path or not os.path.exists(path):
        reason = f"there is nothing at {path}" if path else "no model is set for it"
        raise ModelUnavailable(f"{kind.name} map", f"{reason}; name one with [control] {setting} in the settings")
    return path


def _device(session: CallSession) -> str:
    """Where the generator computes; without one, the GPU if there is one."""
    from indexd.models.device import resolve_device

    try:
        wanted = session.spec(GENERATOR).device
    except ModelUnavailable:
        wanted = "auto"
    return resolve_device(wanted, STAGE)
