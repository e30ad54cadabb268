"""A session of the worker's kind with nothing behind it, and recipes for the tiny model."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from indexd.generate.render import render
from indexd.models.model_pool import ModelPool
from indexd.worker.calls import FileRef, ModelSpec, Render, Rendered, WorkerSettings
from indexd_schemas.recipe import Recipe
from indexd_schemas.recipe_part import FileKey

torch.set_num_threads(1)
NO_FILES: Mapping[FileKey, Path] = MappingProxyType({})


class ScriptedSession:
    """Real pool, recorded progress, and `on_pause(n)` called at the n-th `poll`."""

    def __init__(self, cache: Path, dtype: str = "float32") -> None:
        self.pool = ModelPool()
        self.settings = WorkerSettings({}, str(cache))
        self.dtype = dtype
        self.pauses = 0
        self.seen: list[tuple[str, int, int]] = []
        self.on_pause: Callable[[int], None] = lambda _n: None
        self.checks = 0
        self.on_check: Callable[[int], None] = lambda _n: None

    def spec(self, role: str) -> ModelSpec:
        return ModelSpec(role, "", device="cpu", dtype=self.dtype, keep_alive_seconds=None)

    def poll(self) -> None:
        self.pauses += 1
        self.on_pause(self.pauses)

    def raise_if_cancelled(self) -> None:
        self.checks += 1
        self.on_check(self.checks)

    def progress(self, stage: str, done: int, total: int) -> None:
        self.seen.append((stage, done, total))


class Studio:
    """Renders recipes with the tiny model; keywords replace fields of a plain recipe."""

    def __init__(self, session: ScriptedSession, models: Any) -> None:
        self.session = session
        self.models = models

    def recipe(self, **fields: Any) -> dict[str, Any]:
        """A plain recipe with these fields; `hires`, `detail` and so on become its stages."""
        plain = {"kind": "txt2img", "prompt": "a red cat", "negative_prompt": "blurry", "seed": 7, "width": 64}
        plain |= {"height": 64, "steps": 4, "cfg": 5.0, "sampler": "euler", "model": {"name": "tiny"}}
        stages = []
        for name in ("hires", "detail", "upscale", "refine", "resize"):
            options = fields.pop(name, None) or []
            stages += [{"stage": name, **one} for one in (options if isinstance(options, list) else [options])]
        return plain | ({"stages": stages} if stages else {}) | fields

    def call(
        self, recipe: Recipe | dict[str, Any], files: Mapping[FileKey, Path] = NO_FILES, checkpoint: Path | None = None
    ) -> Render:
        """The call of a recipe; the checkpoint is the tiny model."""
        recipe = Recipe.model_validate(recipe)
        paths = dict(files)
        if recipe.model is not None:
            paths[FileKey("checkpoint", recipe.model.name)] = checkpoint or Path(self.models.sdxl)
        return Render(recipe, {key: FileRef(str(path).encode()) for key, path in paths.items()})

    def render(
        self, recipe: Recipe | dict[str, Any], files: Mapping[FileKey, Path] = NO_FILES, checkpoint: Path | None = None
    ) -> Rendered:
        return render(self.call(recipe, files, checkpoint), self.session)

    def __call__(
        self,
        checkpoint: Path | None = None,
        files: dict[str, str] | None = None,
        source: Path | None = None,
        upscalers: dict[str, str] | None = None,
        detectors: dict[str, str] | None = None,
        **fields: Any,
    ) -> Rendered:
        """`files` are LoRAs by name."""
        recipe = self.recipe(**fields)
        paths = {FileKey("lora", name): Path(path) for name, path in (files or {}).items()}
        paths |= {FileKey("upscaler", name): Path(path) for name, path in (upscalers or {}).items()}
        paths |= {FileKey("detector", name): Path(path) for name, path in (detectors or {}).items()}
        if source is not None:
            paths[FileKey("image", recipe["input"]["hash"])] = source
        return self.render(recipe, paths, checkpoint)

    def steps_seen(self) -> list[tuple[int, int]]:
        """(done, total) of every denoising step that was told."""
        return [(done, total) for stage, done, total in self.session.seen if stage == "denoise"]

    def resident(self, index: int = 0) -> Any:
        """The loaded model behind the pool."""
        return list(self.session.pool._residents.values())[index].model


def recipe_data(made: Rendered) -> dict[str, Any]:
    """The answered recipe as plain data."""
    return made.recipe.model_dump(mode="json")


def pixels(made: Rendered) -> np.ndarray[Any, Any]:
    with Image.open(io.BytesIO(made.encoded)) as picture:
        return np.asarray(picture).copy()


@pytest.fixture(scope="module")
def shared_session(tmp_path_factory: pytest.TempPathFactory) -> ScriptedSession:
    return ScriptedSession(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def studio(shared_session: ScriptedSession, tiny_models: Any) -> Studio:
    """One loaded model for the whole module; what a test scripts is taken back."""
    shared_session.on_pause = lambda _n: None
    shared_session.pauses = 0
    shared_session.seen.clear()
    return Studio(shared_session, tiny_models)


@pytest.fixture
def fresh_studio(tmp_path: Path, tiny_models: Any) -> Studio:
    """A studio of its own, for tests that break the model or count its loads."""
    return Studio(ScriptedSession(tmp_path), tiny_models)


@pytest.fixture
def look() -> Callable[[Rendered], np.ndarray[Any, Any]]:
    """The pixels of a made picture."""
    return pixels
