"""The loaded model of a checkpoint: loaded once, kept by the pool, used again by the next render."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

from indexd.errors import IndexdError, ModelUnavailable, RenderFailed
from indexd.generate.family import ModelFamily, RenderModel, detect_family
from indexd.models.device import FP8, is_out_of_memory, resolve_device, resolve_dtype
from indexd.worker.calls import GENERATOR, ModelSpec, WorkerSettings
from indexd.worker.session import RenderSession

log = logging.getLogger(__name__)

DTYPES = ("float32", "float16", "bfloat16", FP8)


@contextmanager
def lease_model(
    session: RenderSession, checkpoint: str, dtype: str | None, family: str | None = None
) -> Iterator[RenderModel]:
    """The model of `checkpoint`, not evicted before the context is left.

    `dtype` is the recipe's; None = the setting's, where auto is half precision on a GPU and float32 on the CPU. `family` is the
    recipe's, None = any. Raises ModelUnavailable when nothing is at the path, RenderFailed when it cannot be loaded or is of
    another family.
    """
    spec = generator_spec(session, checkpoint)
    path = Path(checkpoint)
    device = resolve_device(spec.device, GENERATOR)
    dtype_name = resolve_dtype(dtype or spec.dtype, device)
    if dtype_name not in DTYPES:
        raise RenderFailed(f"there is no number format {dtype_name!r}; there are auto, {', '.join(DTYPES)}")
    key = f"{GENERATOR}|{path}|{_latest_mtime(path)}|{device}|{dtype_name}"
    load = partial(_load, path, torch.device(device), dtype_name, session.settings)
    with session.pool.lease(GENERATOR, key, load, spec.keep_alive_seconds) as model:
        if family is not None and family != model.family:
            raise RenderFailed(
                f"checkpoint {path.name} is a model of family {model.family}, and the recipe was made with {family}"
            )
        yield model


def generator_spec(session: RenderSession, checkpoint: str = "") -> ModelSpec:
    """Device, number format and keep-alive of everything that renders; also when a job names a checkpoint and the role none."""
    try:
        return session.spec(GENERATOR)
    except ModelUnavailable:
        return ModelSpec(GENERATOR, checkpoint)


def _latest_mtime(path: Path) -> int:
    """A newer file under the same name is another model."""
    try:
        files = [path] if path.is_file() else [path / "model_index.json", *path.glob("*/*.safetensors")]
        return max(file.stat().st_mtime_ns for file in files)
    except OSError as error:
        raise ModelUnavailable(
            GENERATOR, f"{path} is no checkpoint file and no diffusers folder ({error.strerror})"
        ) from error


def _load(path: Path, device: torch.device, dtype_name: str, settings: WorkerSettings) -> RenderModel:
    # The same recipe must give the same bytes: cuDNN must not choose kernels by timing them.
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    family: ModelFamily = detect_family(path)
    try:
        return family.load(path, device, dtype_name, settings)
    except IndexdError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        log.exception("loading %s", path)
        raise RenderFailed(f"checkpoint {path.name} cannot be loaded: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
