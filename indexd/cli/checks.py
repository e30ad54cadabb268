"""The checks of `doctor`, in the order in which one would look: program, settings, places, index, daemon, folders, models."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from indexd.config import Config, load
from indexd.errors import IndexdError
from indexd_schemas.output import Check

FREE_BYTES_WANTED = 1 << 30
INOTIFY_WANTED = 65_536
LATE_BACKUP_SECONDS = 3 * 86400.0
DAEMON_PACKAGES = ("apsw", "sqlite_vec", "numpy", "PIL", "watchfiles", "apscheduler", "uvicorn", "starlette", "blake3")
WORKER_PACKAGES = (
    "torch",
    "diffusers",
    "transformers",
    "open_clip",
    "sentence_transformers",
    "peft",
    "safetensors",
    "ultralytics",
)


def ok(name: str, detail: str) -> Check:
    """A check that is well."""
    return Check(name=name, state="ok", detail=detail)


def warning(name: str, detail: str, cure: str) -> Check:
    """Something that keeps a part from working."""
    return Check(name=name, state="warning", detail=detail, cure=cure)


def failed(name: str, detail: str, cure: str) -> Check:
    """Something that keeps the program from working."""
    return Check(name=name, state="failed", detail=detail, cure=cure)


def all_checks(home: Path | None) -> Iterator[Check]:
    """Every check; those that need settings are left out when the settings cannot be read."""
    yield from check_packages()
    try:
        config = load(home)
    except IndexdError as error:
        yield failed("settings", str(error), "correct the file; `indexd config sample` prints every option")
        return
    yield check_settings(config)
    for check in (
        check_places,
        check_index,
        check_backups,
        check_daemon,
        check_roots,
        check_inotify,
        check_models,
        check_card,
    ):
        yield from _guarded(check, config)


def _guarded(check: Callable[[Config], Iterator[Check]], config: Config) -> Iterator[Check]:
    """A check that itself breaks is a finding and does not hide the others."""
    try:
        yield from check(config)
    except (IndexdError, OSError) as error:
        name = check.__name__.removeprefix("check_")
        yield failed(name, str(error), "see the text; `indexd status` and the daemon's log may say more")


def check_packages() -> Iterator[Check]:
    """Whether Python is new enough and what the two halves import is installed (looked up, not imported)."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield ok("python", f"{version} at {sys.executable}")
    for half, names, bad in (("daemon", DAEMON_PACKAGES, failed), ("worker", WORKER_PACKAGES, warning)):
        missing = [name for name in names if importlib.util.find_spec(name) is None]
        if missing:
            yield bad(f"{half} packages", f"missing: {', '.join(missing)}", "install indexd again: pip install indexd")
        else:
            yield ok(f"{half} packages", "all installed")


def check_settings(config: Config) -> Check:
    """Whether there is a settings file (that it is valid is known by now)."""
    file = config.places.settings_file
    if file.exists():
        return ok("settings", str(file))
    return warning("settings", f"there is no file at {file}; defaults are in force", "run `indexd init`")


def check_places(config: Config) -> Iterator[Check]:
    """Whether the folders can be written and have room."""
    places = config.places
    folders = {"home": places.home, "inbox": places.inbox, "output": places.output, "thumbnails": places.thumbnails}
    for name, folder in folders.items():
        existing = next(part for part in (folder, *folder.parents) if part.exists())
        if not existing.is_dir():
            yield failed(name, f"{existing} is in the way of {folder}", f"move it, or change [paths] {name}")
        elif not os.access(existing, os.W_OK | os.X_OK):
            yield failed(name, f"{folder} cannot be written", "change its owner or mode, or the path in the settings")
        elif (free := shutil.disk_usage(existing).free) < FREE_BYTES_WANTED:
            yield warning(
                name, f"only {free >> 20} MiB are free at {folder}", "make room; jobs pause when the disk is full"
            )
        else:
            yield ok(name, str(folder) if folder.exists() else f"{folder} (will be made)")


def check_index(config: Config) -> Iterator[Check]:
    """Whether the index opens, and how much it holds."""
    from indexd.store.index import Store

    if not config.places.index.exists():
        yield ok("index", f"{config.places.index} will be made at the first start")
        return
    try:
        store = Store.open(config.places.index, read_only=True)
    except IndexdError as error:
        yield failed(
            "index", str(error), "see the text; `indexd check` says more, and `indexd backup --list` what there is"
        )
        return
    try:
        yield ok("index", f"{store.images.count()} pictures in {config.places.index}")
        set_aside = {stage: states["failed"] for stage, states in store.work.counts().items() if states.get("failed")}
        if set_aside:
            words = ", ".join(f"{count} {stage}" for stage, count in sorted(set_aside.items()))
            yield warning("work", f"set aside after several attempts: {words}", "`indexd explain FILE` says why")
        if (reason := store.jobs.paused()) is not None:
            yield warning("queue", f"paused: {reason}", "remove the cause; the queue goes on by itself")
    finally:
        store.close()


def check_backups(config: Config) -> Iterator[Check]:
    """Whether there is a backup of late."""
    from indexd.store.rotation import backups, is_late

    folder = config.places.backups
    newest = next(iter(backups(folder)), None)
    if newest is not None and not is_late(folder, time.time(), LATE_BACKUP_SECONDS):
        yield ok("backups", f"the newest is {newest.path}")
    elif config.places.index.exists():
        detail = f"the newest is {newest.path}" if newest else f"there are none in {folder}"
        yield warning(
            "backups", detail, "`indexd backup` makes one; the daemon does every night ([backup] in the settings)"
        )


def check_daemon(config: Config) -> Iterator[Check]:
    """Whether the daemon answers, and is of this version."""
    from importlib.metadata import version

    from indexd.api.connect import daemon

    remote = daemon(config)
    if remote is None:
        yield warning("daemon", "it is not running", "start it with `indexd run`")
        return
    status = remote.status()
    if status.version != version("indexd"):
        yield warning("daemon", f"it is version {status.version}, this command is {version('indexd')}", "restart it")
    else:
        yield ok("daemon", f"process {status.pid} answers")
    deaths = sum(worker.deaths for worker in status.workers)
    if deaths:
        yield warning(
            "workers", f"{deaths} died since the daemon started", "the daemon's log and `indexd status` say why"
        )


def check_roots(config: Config) -> Iterator[Check]:
    """Whether the watched folders are there and can be read."""
    if not config.settings.roots:
        yield warning(
            "folders", "only the output folder is watched", f"add [[roots]] tables to {config.places.settings_file}"
        )
    for root in config.settings.roots:
        path = Path(root.path).expanduser().absolute()
        if not path.is_dir():
            yield warning("folder", f"{path} is not there", "mount it, or correct its [[roots]] path")
        elif not os.access(path, os.R_OK | os.X_OK):
            yield failed("folder", f"{path} cannot be read", "change its mode, or run indexd as its owner")
        else:
            yield ok("folder", str(path))


def check_inotify(_config: Config) -> Iterator[Check]:
    """Whether Linux lets one user watch enough folders."""
    file = Path("/proc/sys/fs/inotify/max_user_watches")
    if not file.exists():
        return
    limit = int(file.read_text())
    if limit < INOTIFY_WANTED:
        yield warning(
            "inotify",
            f"one user may watch {limit} folders",
            "sudo sysctl fs.inotify.max_user_watches=524288; else folders are polled",
        )
    else:
        yield ok("inotify", f"one user may watch {limit} folders")


def check_models(config: Config) -> Iterator[Check]:
    """Which roles are on."""
    from indexd.roles import role_states

    for role in role_states(config):
        if role.on:
            yield ok(f"model {role.role}", role.detail)
        else:
            reason, _, cure = role.detail.partition("; ")
            yield warning(f"model {role.role}", f"off, because {reason}", cure or "its work waits meanwhile")


def check_card(config: Config) -> Iterator[Check]:
    """Whether there is a graphics card (asked of the driver; torch is not imported)."""
    wants = {config.settings.models.role(role).device for role in ("sdxl", "clip_h")}
    if Path("/proc/driver/nvidia/gpus").is_dir() or shutil.which("nvidia-smi"):
        yield ok("card", "a driver is there; `indexd models verify` says what each model runs on")
    elif any(device.startswith("cuda") for device in wants):
        yield failed(
            "card", "the settings ask for cuda, and there is no driver", 'install the driver, or set device = "auto"'
        )
    else:
        yield ok("card", "none found; models run on the CPU")
