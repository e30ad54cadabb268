"""What every test may use: no hub, one thread, and tiny models that are built once a session."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

# Before any test imports a library that reads them.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from indexd_toyworld.paths import ToyModels
    from tests.tiny_models.guides import TinyGuides
    from tests.tiny_models.models import TinyModels


# How long the fuzz tests look: a moment in every run, minutes with --hypothesis-profile=long. No deadlines: the machine
# may be slow. The short one draws the same each time, so that a run says something of the change and not of luck.
_ALWAYS = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "database": None}
settings.register_profile("short", max_examples=60, derandomize=True, **_ALWAYS)
settings.register_profile("long", max_examples=5000, **_ALWAYS)
settings.load_profile("short")


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    """Tiny models of the real architectures on disk; with pytest-xdist all processes share one copy."""
    from tests.tiny_models.models import build_models

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
def tiny_guides(tiny_models: TinyModels) -> TinyGuides:
    """Tiny ControlNets, an IP-Adapter and a depth model that go with the tiny models."""
    from tests.tiny_models.guides import build_guides

    return build_guides(tiny_models, tiny_models.folder.with_name("tiny-guides"))
