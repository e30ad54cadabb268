"""What every test may use: no hub, one thread, and tiny models that are built once a session."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

# Before any test imports a library that reads them.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import pytest

if TYPE_CHECKING:
    from indexd.demo.guides import DemoGuides
    from indexd.demo.models import DemoModels
    from indexd_toyworld.paths import ToyModels


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> DemoModels:
    """Tiny models of the real architectures on disk; with pytest-xdist all processes share one copy."""
    from indexd.demo.models import build_models

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    return build_models(folder / "tiny-models")


@pytest.fixture(scope="session")
def toy_world() -> ToyModels:
    """The trained models of the toy world, as they ship: for tests of what pictures and words mean."""
    from indexd_toyworld.paths import toy_models

    return toy_models()


@pytest.fixture(scope="session")
def tiny_guides(tiny_models: DemoModels) -> DemoGuides:
    """Tiny ControlNets, an IP-Adapter and a depth model that go with the tiny models."""
    from indexd.demo.guides import build_guides

    return build_guides(tiny_models, tiny_models.folder.with_name("tiny-guides"))
