"""Loading, lending, keeping alive and evicting, with a clock and models of our own."""

from __future__ import annotations

import gc
import weakref
from functools import partial

import pytest
import torch

from indexd.errors import ModelUnavailable, OutOfMemory
from indexd.models.model_pool import ModelPool


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Model:
    def __init__(self, name: str) -> None:
        self.name = name


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pool(clock: Clock) -> ModelPool:
    return ModelPool(clock, free_memory=gc.collect)


def use(pool: ModelPool, name: str, keep_alive: float | None = 10.0) -> str:
    with pool.lease(name, f"{name}:/path", lambda: Model(name), keep_alive) as model:
        return model.name


def test_a_model_is_loaded_once(pool: ModelPool) -> None:
    loads: list[int] = []
    for _ in range(3):
        with pool.lease("bge", "bge:a", lambda: loads.append(1), 10.0):
            pass
    with pool.lease("bge", "bge:b", lambda: loads.append(2), 10.0):
        pass
    assert loads == [1, 2]


def test_it_leaves_after_its_keep_alive_and_not_before(pool: ModelPool, clock: Clock) -> None:
    use(pool, "bge", 10.0)
    use(pool, "clip_h", 30.0)
    assert pool.next_expiry() == 110.0
    assert pool.drop_expired(109.9) == []
    clock.now = 110.0
    assert pool.drop_expired(clock.now) == ["bge"]
    assert pool.idle_seconds(clock.now) == {"clip_h": 10.0}


def test_use_renews_the_keep_alive(pool: ModelPool, clock: Clock) -> None:
    use(pool, "bge")
    clock.now = 108.0
    use(pool, "bge")
    assert pool.next_expiry() == 118.0


def test_never_and_zero(pool: ModelPool, clock: Clock) -> None:
    use(pool, "bge", None)
    use(pool, "clip_h", 0.0)
    assert pool.drop_expired(clock.now, at_least=5.0) == []
    assert pool.drop_expired(clock.now) == ["clip_h"]
    assert pool.next_expiry() is None
    assert pool.drop_expired(clock.now + 1e9) == []


def test_a_model_in_use_neither_expires_nor_is_evicted(pool: ModelPool, clock: Clock) -> None:
    with pool.lease("generator", "generator", lambda: Model("generator"), 0.0):
        clock.now += 100.0
        assert pool.drop_expired(clock.now) == []
        assert pool.idle_seconds(clock.now) == {"generator": 0.0}
        with pytest.raises(OutOfMemory):
            pool.run_with_eviction(no_room)
    assert pool.idle_seconds(clock.now) == {"generator": 0.0}


def no_room() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore lines")


def test_out_of_memory_evicts_the_least_recently_used_until_there_is_room(pool: ModelPool, clock: Clock) -> None:
    dropped: list[weakref.ref[Model]] = []
    for name in ("bge", "clip_l", "clip_h"):
        clock.now += 1
        with pool.lease(name, f"{name}:/path", partial(Model, name), 10.0) as model:
            dropped.append(weakref.ref(model))
        del model
    clock.now += 1
    use(pool, "bge")

    def needs_two_places() -> str:
        if sum(one() is not None for one in dropped) > 1:
            no_room()
        return "made"

    assert pool.run_with_eviction(needs_two_places) == "made"
    assert set(pool.idle_seconds(clock.now)) == {"bge"}


def test_loading_without_room_says_so(pool: ModelPool) -> None:
    with (
        pytest.raises(OutOfMemory, match=r"Tried to allocate 2 GiB$"),
        pool.lease("generator", "generator", no_room, 10.0),
    ):
        pass
    assert pool.idle_seconds(0.0) == {}


def test_other_errors_pass_and_leave_nothing(pool: ModelPool) -> None:
    def off() -> None:
        raise ModelUnavailable("bge", "it is damaged")

    with pytest.raises(ModelUnavailable), pool.lease("bge", "bge", off, 10.0):
        pass
    with pytest.raises(KeyError):
        pool.run_with_eviction(lambda: dict[str, str]()["nothing"])
    assert pool.idle_seconds(0.0) == {}


def test_an_error_while_it_is_lent_ends_the_lease(pool: ModelPool, clock: Clock) -> None:
    with pytest.raises(KeyError), pool.lease("bge", "bge", lambda: Model("bge"), 10.0):
        raise KeyError
    assert pool.drop_expired(clock.now + 10.0) == ["bge"]
