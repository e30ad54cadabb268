"""Which loader fills which role, and the one way to a resident embedding model.

Adding a role = a loader module and a row here.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import cast

from indexd.errors import IndexdError, ModelUnavailable
from indexd.models.device import is_out_of_memory
from indexd.models.embedding_model import EmbeddingModel
from indexd.worker.calls import ModelSpec
from indexd.worker.session import CallSession

EmbeddingLoader = Callable[[ModelSpec, str], EmbeddingModel]

EMBEDDING_LOADERS: Mapping[str, str] = MappingProxyType(
    {
        "bge": "indexd.models.bge:load_bge",
        "clip_l": "indexd.models.clip_text:load_clip_text",
        "clip_g": "indexd.models.clip_text:load_clip_text",
        "clip_h": "indexd.models.clip_vision:load_clip_vision",
    }
)
"""By text: each library takes seconds to import, and a lane may need one of them only."""


def lease_embedding_model(role: str, session: CallSession) -> AbstractContextManager[EmbeddingModel]:
    """A lease of the model of `role`. Raises ModelUnavailable with the reason for which it cannot be loaded."""
    spec = session.spec(role)
    if role not in EMBEDDING_LOADERS:
        raise ModelUnavailable(role, "it is no embedding model")
    key = f"{role}:{spec.path}:{spec.device}:{spec.dtype}"
    return session.pool.lease(role, key, lambda: _load(spec, session.settings.cache_folder), spec.keep_alive_seconds)


def _load(spec: ModelSpec, cache_folder: str) -> EmbeddingModel:
    if not os.path.exists(spec.path):
        raise ModelUnavailable(spec.role, f"there is nothing at {spec.path}")
    module, _, name = EMBEDDING_LOADERS[spec.role].partition(":")
    try:
        load = cast("EmbeddingLoader", getattr(importlib.import_module(module), name))
        return load(spec, cache_folder)
    except IndexdError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        # Whatever a library says of a damaged folder: it is the model that is at fault, not the images that wait.
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ModelUnavailable(spec.role, f"{spec.path} cannot be loaded: {first[:300]}") from error
