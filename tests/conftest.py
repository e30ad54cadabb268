"""What every test may use: no hub, one thread, no waiting for the disk, and tiny models that are built once a session."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

# Before any test imports a library that reads them.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import pytest
from hypothesis import HealthCheck, settings

from indexd.reproducibility import set_reproducible_environment
from indexd.store.sqlite import database
from tests.support.unit_layer import enforce_unit_layer

if TYPE_CHECKING:
    from indexd_toyworld.model_paths import ToyModels
    from tests.support.tiny_models.conditioning import TinyConditioningModels
    from tests.support.tiny_models.models import TinyModels

set_reproducible_environment()

FSYNC = os.fsync
PRAGMAS = {name: getattr(database, name) for name in ("_SYNC_FULL", "_SYNC_NORMAL")}

# How long the fuzz tests look: a moment in every run, minutes with --hypothesis-profile=long. No deadlines: the machine
# may be slow. The short one draws the same each time, so that a run says something of the change and not of luck.
_ALWAYS = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
settings.register_profile("short", _ALWAYS, max_examples=60, derandomize=True)
settings.register_profile("long", _ALWAYS, max_examples=5000)
settings.load_profile("short")


def pytest_configure(config: pytest.Config) -> None:
    """With INDEXD_TEST_LAYER=unit, as `make test-unit` sets it: no torch and no Python process, by construction."""
    starts_workers = bool(config.getoption("numprocesses", None)) and not hasattr(config, "workerinput")
    if os.environ.get("INDEXD_TEST_LAYER") == "unit" and not starts_workers:
        enforce_unit_layer()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The soak lasts five minutes and mostly waits: it begins first, and the other processes of pytest go on beside it."""
    items.sort(key=lambda item: item.path.name != "test_soak.py")
    if os.environ.get("INDEXD_TEST_LAYER") == "unit":
        left_out = [item for item in items if item.get_closest_marker("starts_process")]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


def pytest_collection_finish() -> None:
    """What the imports made stays until the end: looking through a million objects for rubbish again and again is time lost."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """What is frozen is not torn down, and some libraries complain of that after pytest's closing line."""
    gc.unfreeze()


def pytest_sessionfinish() -> None:
    gc.unfreeze()


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """A report goes to another process as UTF-8, and tests of hostile names log what is none."""
    return _encodable((yield))


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {key: _encodable(inner) for key, inner in value.items()}
    return type(value)(map(_encodable, value)) if isinstance(value, (list, tuple)) else value


@pytest.fixture(scope="session", autouse=True)
def written_without_waiting() -> Iterator[None]:
    """Nothing in this process waits until its bytes are on the platter, which most of a test's time would go to.

    Only a power cut could tell. Daemons are processes of their own and wait (tests/faults cuts their power), and so does
    what asks for `waiting_for_the_disk`.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _descriptor: None)
        for name in PRAGMAS:
            patch.setattr(database, name, "PRAGMA synchronous = OFF")
        yield


@pytest.fixture
def waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of what reached the disk and what did not: everything waits as it does at home."""
    monkeypatch.setattr(os, "fsync", FSYNC)
    for name, pragma in PRAGMAS.items():
        monkeypatch.setattr(database, name, pragma)


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    """Tiny models of the real architectures on disk; with pytest-xdist all processes share one copy."""
    from tests.support.tiny_models.models import build_models

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    return build_models(folder / "tiny-models")


@pytest.fixture(scope="session")
def toy_world() -> ToyModels:
    """The trained models of the toy world, as they ship: for tests of what pictures and words mean."""
    from indexd_toyworld.model_paths import toy_models

    return toy_models()


@pytest.fixture(scope="session")
def tiny_guides(tiny_models: TinyModels) -> TinyConditioningModels:
    """Tiny ControlNets, an IP-Adapter and a depth model that go with the tiny models."""
    from tests.support.tiny_models.conditioning import build_conditioning_models

    return build_conditioning_models(tiny_models, tiny_models.folder.with_name("tiny-guides"))
