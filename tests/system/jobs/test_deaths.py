"""The process dies after any one call that changes a file: the next one ends the work, once, and nothing lies about."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from indexd.jobs.preview import preview_job
from tests.unit.jobs.conftest import JobSetup, OpenSetup

JOB = "kind: txt2img\nprompt: a castle\nseed: 7\n"
CALLS = ("open", "fsync", "link", "rename", "replace", "unlink")
MOST_CALLS = 200


class Death(BaseException):
    """No handler of the program sees the end of its process."""


@contextmanager
def dying_after(number: int) -> Iterator[None]:
    """The process ends when the call of this number (from 1) has been carried out, and carries out nothing more."""
    made = 0

    def counted(call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        nonlocal made
        made += 1
        if made > number:
            raise Death
        result = call(*arguments, **named)
        if made == number:
            raise Death
        return result

    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, partial(counted, getattr(os, name)))
        yield


def lives(setup: JobSetup, walk: Callable[[JobSetup], None], number: int) -> bool:
    """Whether the process comes to the end of the walk before it dies."""
    try:
        with dying_after(number):
            walk(setup)
    except Death:
        return False
    return True


def unfinished(setup: JobSetup) -> list[Path]:
    home = setup.inbox.parent
    return [path for path in home.rglob("*") if path.suffix in (".part", ".tmp")]


def take_and_make(setup: JobSetup) -> None:
    for path in setup.inbox.glob("*.yaml"):
        setup.jobs.admit_file(path)
    setup.work()


def test_a_job_from_file_to_result(open_setup: OpenSetup) -> None:
    for number in range(1, MOST_CALLS):
        name = f"x{number}"
        setup = open_setup()
        setup.drop(JOB, f"{name}.yaml")
        if lives(setup, take_and_make, number):
            break
        again = open_setup()
        take_and_make(again)
        assert unfinished(again) == [], number
        assert again.listed("accepted") == again.listed("failed") == [], number
        assert {f"{name}.yaml", f"{name}.result.json"} <= set(again.listed("done")), number
        assert len(again.listed("done")) == 2 * number
        assert again.images() == sorted(f"x{made}-0001.png" for made in range(1, number + 1))
        assert again.store.jobs.counts() == {"done": number}
    assert 15 < number < MOST_CALLS - 1


def submit_and_make(setup: JobSetup) -> None:
    setup.jobs.submit(JOB.encode(), "x.yaml")
    setup.work()


def test_a_job_that_came_as_bytes(open_setup: OpenSetup) -> None:
    kept = 0
    # The first job that names a model file writes the cache of model descriptions, before it is accepted.
    first = open_setup()
    preview_job(first.config, first.store, JOB.encode(), "x.yaml", sample=0)
    for number in range(1, MOST_CALLS):
        setup = open_setup()
        if lives(setup, submit_and_make, number):
            break
        again = open_setup()
        again.work()
        assert unfinished(again) == [], number
        assert again.listed("accepted") == [], number
        kept = again.store.jobs.counts().get("done", 0)
        assert len(again.listed("done")) == 2 * kept
    assert 15 < number == kept + 1 < MOST_CALLS - 1


def test_a_file_that_is_refused(open_setup: OpenSetup) -> None:
    for number in range(1, MOST_CALLS):
        setup = open_setup()
        setup.drop("kind: nonsense\n", f"x{number}.yaml")
        if lives(setup, take_and_make, number):
            break
        again = open_setup()
        take_and_make(again)
        assert unfinished(again) == [], number
        assert list(again.inbox.glob("*.yaml")) == [], number
        assert {f"x{number}.yaml", f"x{number}.yaml.error.txt"} <= set(again.listed("failed")), number
        assert len(again.listed("failed")) == 2 * number
    assert 5 < number < MOST_CALLS - 1


def test_a_job_that_is_cancelled(open_setup: OpenSetup) -> None:
    for number in range(1, MOST_CALLS):
        setup = open_setup()
        setup.drop(JOB, f"x{number}.yaml")
        setup.jobs.admit_file(setup.inbox / f"x{number}.yaml")
        job = setup.store.jobs.by_name(f"x{number}")
        assert job is not None
        if lives(setup, lambda setup, job_id=job.id: setup.jobs.cancel(job_id) and setup.work(), number):  # type: ignore[misc]
            break
        again = open_setup()
        if again.store.jobs.counts().get("cancelled") != number:
            again.jobs.cancel(job.id)
        assert unfinished(again) == [], number
        assert again.listed("accepted") == [], number
        assert {f"x{number}.yaml", f"x{number}.result.json"} <= set(again.listed("failed")), number
        assert len(again.listed("failed")) == 2 * number
    assert 5 < number < MOST_CALLS - 1
