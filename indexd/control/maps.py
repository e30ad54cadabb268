"""A picture -> the map of it that a ControlNet goes by, from the cache where it was made before.

Serves the call `MakeMap`, and every render with controls. What needs no model imports none, so that the decode lane
stays small.
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

from indexd.control import edges
from indexd.control.cache import MapCache
from indexd.errors import IndexdError, ModelOff, NotAPicture, NotRegular
from indexd.images.decode import content_hash, open_picture
from indexd.worker.calls import MakeMap, MapMade
from indexd.worker.session import Session
from indexd_schemas.control import ControlType, control_type

log = logging.getLogger(__name__)

STAGE = "control"
_SETTINGS = {"depth": "depth_model", "pose": "pose_model"}


@dataclass(frozen=True, slots=True)
class ControlMap:
    """A map as RGB; `method` says what made it ("" = the picture is its own map), `path` where it lies in the cache."""

    picture: Image.Image
    method: str
    path: Path
    cached: bool


@dataclass(frozen=True, slots=True)
class Wish:
    """The map that is wanted: of the picture at `path`, `size` (width, height) in pixels; None = the picture's own.

    Another shape is covered and cropped to the middle, before the map is made.
    """

    path: bytes
    type: ControlType
    size: tuple[int, int] | None = None
    low: int = 100
    high: int = 200


def make_map(call: MakeMap, session: Session) -> MapMade:
    """The map as a file. Raises IndexdError with a sentence, ModelOff, or OSError where the cache cannot be written."""
    wish = Wish(call.path, control_type(call.type), call.size, call.low, call.high)
    made = control_map(wish, session)
    if not made.path.is_file():
        cache_of(session).put(made.path, made.picture)
    return MapMade(str(made.path), *made.picture.size, made.method, made.cached)


def control_map(wish: Wish, session: Session, content: str | None = None) -> ControlMap:
    """The map, made now or found. `content` is the hash that the picture must have.

    Raises NotAPicture, NotRegular, OSError, ModelOff, or IndexdError for a type that nothing here makes.
    """
    method = method_of(wish, session)
    found = content_hash(wish.path)
    if content is not None and found != content:
        raise NotAPicture(f"is not the one that was named: its hash is {found[:12]}…, not {content[:12]}…")
    cache = cache_of(session)
    path = cache.path(found, wish.type.name, method, *(wish.size or ("own", "size")))
    if (kept := cache.get(path)) is not None:
        return ControlMap(kept, method, path, cached=True)
    picture = fitted(wish.path, wish.size, found)
    session.between_steps()
    made = _made(wish, picture, session)
    try:
        cache.put(path, made)
    except OSError as error:
        log.warning("the control map cannot be kept in %s (%s)", path.parent, error)
    return ControlMap(made, method, path, cached=False)


def method_of(wish: Wish, session: Session) -> str:
    """What decides the map besides picture and size. Raises IndexdError, ModelOff."""
    kind = wish.type
    if kind.maker is None:
        raise IndexdError(f"nothing here makes {kind.name} maps; give the map itself, with `preprocess: false`")
    if kind.name == "canny":
        return f"canny/{wish.low}-{wish.high}"
    if kind.maker == "opencv":
        return f"{kind.name}/opencv"
    if kind.maker == "":
        return ""
    where = _model_path(kind, session)
    cache_folder = session.settings.cache_folder
    if kind.name == "depth":
        from indexd.control.depth import depth_identity

        return depth_identity(where, cache_folder)
    from indexd.control.pose import pose_identity

    return pose_identity(where, cache_folder)


def fitted(path: bytes, size: tuple[int, int] | None, content: str) -> Image.Image:
    """The picture at `path` upright as RGB, covering `size` and cropped to it. Raises NotAPicture, NotRegular, OSError."""
    picture = open_picture(path)
    if content_hash(path) != content:
        raise NotAPicture("was changed while it was read")
    if size is None or picture.size == size:
        return picture
    return ImageOps.fit(picture, size, Image.Resampling.LANCZOS)


def cache_of(session: Session) -> MapCache:
    """The maps of this worker's cache folder."""
    return MapCache(session.settings.cache_folder, session.settings.control.cache_bytes)


def readable(error: Exception) -> str:
    """Why a picture cannot be used, as the end of a sentence that names it."""
    if isinstance(error, NotAPicture | NotRegular):
        return str(error)
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror or error}"
    return f"cannot be used: {error}"


def _made(wish: Wish, picture: Image.Image, session: Session) -> Image.Image:
    kind = wish.type
    if kind.maker == "":
        return picture
    if kind.maker == "opencv":
        pixels = np.asarray(picture)
        if kind.name == "canny":
            return Image.fromarray(edges.canny(pixels, wish.low, wish.high))
        makers: dict[str, Callable[[edges.Pixels], edges.Pixels]] = {
            "lineart": edges.lineart,
            "softedge": edges.softedge,
            "scribble": edges.scribble,
        }
        return Image.fromarray(makers[kind.name](pixels))
    with _lent(kind, session) as model:
        made: Image.Image = session.pool.with_room(lambda: model.map_of(picture))
    return made


def _lent(kind: ControlType, session: Session) -> AbstractContextManager[Any]:
    from indexd.control.depth import ROLE as DEPTH
    from indexd.control.depth import load_depth_model
    from indexd.control.pose import ROLE as POSE
    from indexd.control.pose import load_pose_model

    role, load = (DEPTH, load_depth_model) if kind.name == "depth" else (POSE, load_pose_model)
    where, device, settings = _model_path(kind, session), _device(session), session.settings
    key = f"{role}|{where}|{device}|{method_of(Wish(b'', kind), session)}"
    return session.pool.lease(
        role, key, lambda: load(where, device, settings.cache_folder), settings.control.keep_alive_seconds
    )


def _model_path(kind: ControlType, session: Session) -> str:
    setting = _SETTINGS[kind.name]
    path: str = getattr(session.settings.control, setting)
    if not path or not os.path.exists(path):
        reason = f"there is nothing at {path}" if path else "no model is set for it"
        raise ModelOff(f"{kind.name} map", f"{reason}; name one with [control] {setting} in the settings")
    return path


def _device(session: Session) -> str:
    """Where the generator computes; without one, the card if there is one."""
    from indexd.models.device import resolve_device

    try:
        wanted = session.spec("sdxl").device
    except ModelOff:
        wanted = "auto"
    return resolve_device(wanted, STAGE)
