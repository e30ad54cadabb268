"""A home with checkpoints and LoRAs that have headers and no weights: these tests never load them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from indexd.config import Config, read_config
from indexd.jobs.files.atomic import FaultHook, no_fault
from indexd.jobs.queue.runner import JobRunner
from indexd.jobs.service import JobService
from indexd.registry import load_handlers
from indexd.store.protocols import IndexStore
from indexd.store.sqlite.store import SqliteStore
from indexd.worker.fake_workers import FakeWorkers
from tests.support import model_files


@dataclass
class Clock:
    """Seconds since the epoch, moved by hand."""

    now: float = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class JobSetup:
    """The job service and the runner on a real index, a fake worker and a clock that stands still."""

    config: Config
    store: IndexStore
    workers: FakeWorkers
    jobs: JobService
    runner: JobRunner
    clock: Clock = field(default_factory=Clock)

    @property
    def inbox(self) -> Path:
        return self.config.paths.inbox

    @property
    def output(self) -> Path:
        return self.config.paths.output

    def drop(self, text: str, name: str = "x.yaml") -> Path:
        path = self.inbox / name
        path.write_text(text, "utf-8")
        return path

    def work(self, turns: int = 200) -> None:
        """Take turns while there is something to do at once."""
        for _ in range(turns):
            self.runner._wake_requested = False
            if self.runner.run_once() != 0.0:
                return
        raise AssertionError("the runner finds no rest")

    def images(self) -> list[str]:
        return sorted(path.relative_to(self.output).as_posix() for path in self.output.rglob("*") if path.is_file())

    def listed(self, folder: str) -> list[str]:
        return sorted(path.name for path in (self.inbox / folder).iterdir() if path.is_file())


OpenSetup = Callable[..., JobSetup]


@pytest.fixture(scope="session", autouse=True)
def job_kinds_are_loaded() -> None:
    """The daemon loads them at its start. Loading at the first job would fail in tests that break `os.listdir`."""
    load_handlers()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    models = tmp_path / "models"
    for name, shapes in (
        ("checkpoints/dream", model_files.SDXL_CHECKPOINT),
        ("checkpoints/anime/flat", model_files.SDXL_CHECKPOINT),
        ("loras/film-grain", model_files.SDXL_LORA),
        ("loras/detail tweaker", model_files.SDXL_LORA),
        ("vae/sdxl_vae", model_files.VAE),
        ("base", model_files.SDXL_CHECKPOINT),
    ):
        model_files.write_model(models / f"{name}.safetensors", shapes)
    home = tmp_path / "home"
    for folder in ("inbox", "output"):
        (home / folder).mkdir(parents=True)
    (home / "indexd.toml").write_text(
        f"""
[models.generator]
path = "{(models / "base.safetensors").as_posix()}"
[generate]
checkpoint_folders = ["{(models / "checkpoints").as_posix()}"]
lora_folders = ["{(models / "loras").as_posix()}"]
vae_folders = ["{(models / "vae").as_posix()}"]
max_images_per_job = 50
max_megapixels = 4.5
""",
        "utf-8",
    )
    return home


@pytest.fixture
def open_setup(home: Path) -> Iterator[OpenSetup]:
    """Opens the job service as a new process would; the index of the one before is closed."""
    stores: list[IndexStore] = []
    clock = Clock()
    config = read_config(home)

    def opened(workers: FakeWorkers | None = None, fault: FaultHook = no_fault) -> JobSetup:
        for store in stores:
            store.close()
        store = SqliteStore.open(config.paths.index, clock=clock)
        stores.append(store)
        workers = workers or FakeWorkers()
        draw = count(1000)
        jobs = JobService(store, config, clock=clock, random_bits=lambda bits: next(draw), fault=fault)
        runner = JobRunner(store, workers, jobs, clock=clock)
        runner.recover()
        return JobSetup(config, store, workers, jobs, runner, clock)

    yield opened
    for store in stores:
        store.close()


@pytest.fixture
def setup(open_setup: OpenSetup) -> JobSetup:
    return open_setup()
