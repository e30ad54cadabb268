"""What a user does, in a line each, and waiting until the daemon has done what follows from it."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

from indexd.api.connect import connect
from indexd.api.operations import annotation
from indexd.config import read_config
from indexd.demo.daemon_process import DaemonProcess, is_settled
from indexd.search.query.image_target import ImageTarget, format_target
from indexd_schemas.api.output import DaemonStatus
from indexd_schemas.api.requests import RateRequest
from tests.faults.agreement import disagreements
from tests.faults.conftest import WAIT_SECONDS
from tests.system.loop.pictures import picture, write


def add_images(home: Path, count: int, first: int = 0, person: str = "anna") -> list[Path]:
    """Write this many images into the watched folder."""
    folder = home / "pictures"
    return [write(folder, f"{person}-{number}.png", picture(number)) for number in range(first, first + count)]


def job(home: Path, name: str, count: int = 2, prompt: str = "a cat") -> None:
    """Drop a job file, whole at once. Its seed follows from its name: the same job twice would give the same images."""
    draft = home / "draft"
    seed = zlib.crc32(name.encode())
    draft.write_text(f"kind: txt2img\nprompt: {prompt}\nseed: {seed}\ncount: {count}\nsize: 64x64\n", "utf-8")
    draft.rename(home / "inbox" / f"{name}.yaml")


def rate(home: Path, path: Path, stars: int) -> None:
    """Rate a picture through the running daemon; returns when it was acknowledged."""
    target = format_target(ImageTarget(path=os.fsencode(path)))
    remote = connect(read_config(home), need_daemon=True)
    try:
        assert remote.call(annotation.rate, RateRequest(targets=(target,), rating=stars)).changed == 1
    finally:
        remote.close()


def until_idle(daemon: DaemonProcess, images: int, jobs: int = 0) -> DaemonStatus:
    """Wait until this many images are indexed, this many jobs ended, and no index task is left."""

    def done(status: DaemonStatus) -> bool:
        return status.images >= images and sum(status.jobs.values()) >= jobs and is_settled(status)

    status = daemon.wait_until(f"{images} images and {jobs} jobs", done, WAIT_SECONDS)
    assert status.images == images
    return status


def until_paused(daemon: DaemonProcess, word: str) -> None:
    """Wait until the queue says why it waits."""
    daemon.wait_until(f"a pause with {word!r}", lambda status: word in (status.queue_paused or ""), WAIT_SECONDS)


def agree(daemon: DaemonProcess) -> None:
    """Stop the daemon; ledger, folders and index must agree."""
    daemon.stop(60.0)
    wrong = disagreements(daemon.home)
    assert not wrong, "\n".join(wrong)
