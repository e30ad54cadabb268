"""Hands the work that the index holds to the workers, in batches, and puts the results back.

One thread. It sleeps until work is announced, a batch comes back, or the clock says that something may be tried again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from indexd.errors import StoreError, may_pass
from indexd.layers.batch import Batch, Thumbnails, WrongWidth, prepare, settle
from indexd.layers.changes import ModelChanges
from indexd.layers.description import LAYERS, THUMBNAIL, role_of
from indexd.layers.holds import Holds
from indexd.layers.ledger import Ledger
from indexd.layers.portions import Portions
from indexd.layers.trouble import GiveBack, Hold, Isolate, Later, SetAside, Smaller, judge
from indexd.pulse import Pulse
from indexd.worker.calls import FACES, EmbedText, FindFaces, Priority, WorkerSettings
from indexd.worker.handle import Call, Submits
from indexd.worker.roles import role_problem, role_stamp
from indexd.worker.table import DECODE, lane_of_role

log = logging.getLogger(__name__)

LOOK_SECONDS = 30.0
"""How often the ledger is looked at when nothing was announced: work whose time to be retried has come."""
AHEAD = 2
"""Batches given to a lane at once, so that it never waits while a result is being stored."""
SILENCE_SECONDS = {THUMBNAIL: 120.0}
LAYER_SILENCE_SECONDS = 900.0
"""A first batch may load gigabytes from a slow disk without a sign of life."""


@dataclass(frozen=True, slots=True)
class _InHand:
    batch: Batch
    lane: str
    call: Call
    stamp: str | None


class LayerDispatcher:
    """Drives thumbnails and layers. `now` is seconds since the epoch, like the ledger's own times."""

    def __init__(
        self,
        store: Ledger,
        workers: Submits,
        settings: WorkerSettings,
        thumbnails: Thumbnails,
        on_failure: Callable[[BaseException], None] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`on_failure` hears of a defect that ended the thread."""
        self._store = store
        self._workers = workers
        self._settings = settings
        self._thumbnails = thumbnails
        self._on_failure = on_failure
        self._now = now
        self._condition = threading.Condition()
        self._announced = True
        self._idle = False
        self._stopping = False
        self._in_hand: list[_InHand] = []
        self._holds = Holds(partial(role_stamp, settings))
        self._portions = Portions(store, settings)
        self._changes = ModelChanges(store, settings)
        self._looked = False
        self._thread = threading.Thread(target=self._run, name="layers", daemon=True)
        self.pulse = Pulse("layers", wake=self.announce)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def announce(self) -> None:
        """There is new work, or a model has appeared; from any thread, cheap."""
        with self._condition:
            self._announced = True
            self._condition.notify_all()

    def works(self, role: str) -> None:
        """The model of `role` was just tried and works: what waits for it need not wait longer. From any thread."""
        self._holds.works(role)
        self.announce()

    def drain(self) -> None:
        """Wait until nothing is left that could be done now; what waits for a model or for its time is left waiting."""
        with self._condition:
            self._condition.wait_for(lambda: self._stopping or (self._idle and not self._announced))

    def stop(self, deadline: float = 10.0) -> None:
        """Take nothing more, cancel what is in hand and give it back; wait at most `deadline` seconds for that.

        What a hung worker keeps longer than that is found again by the ledger at the next start.
        """
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
            in_hand = list(self._in_hand)
        for one in in_hand:
            one.call.cancel()
        if self._thread.is_alive():
            self._thread.join(deadline)

    def waits_for(self) -> dict[str, str]:
        """Every role whose work waits, with the reason: no model, or it failed when it was last tried."""
        off = {role: reason for role in _roles() if (reason := role_problem(self._settings, role)) is not None}
        return {**self._holds.reasons(), **off}

    def step(self) -> bool:
        """Store what came back and hand out what is ready; answers whether anything happened. Never waits."""
        self.pulse.beat()
        self._holds.release_repaired(self._now(), LOOK_SECONDS)
        finished = [one for one in self._in_hand if one.call.done()]
        for one in finished:
            self._finish(one)
            # Only now: when the index could not take the result, it is offered again.
            with self._condition:
                self._in_hand.remove(one)
        sent = False
        while not self._stopping and self._send_one():
            sent = True
        return bool(finished) or sent

    def _run(self) -> None:
        try:
            while not self._is_over():
                self._work_and_wait()
            self._portions.give_back()
        except Exception as error:
            if self._stopping and isinstance(error, StoreError):
                log.warning("the index could not take back what was in hand; it is found again at the next start")
                return
            log.exception("the thread of thumbnails and layers broke down")
            with self._condition:
                self._stopping = True  # nobody waits for what will not be done any more
                self._condition.notify_all()
            if self._on_failure is not None:
                self._on_failure(error)

    def _is_over(self) -> bool:
        with self._condition:
            return self._stopping and not self._in_hand

    def _work_and_wait(self) -> None:
        try:
            if not self._looked:
                self._changes.look()
                self._looked = True
            while self.step():
                pass
        except (StoreError, OSError) as error:
            if self._stopping or not (isinstance(error, StoreError) or may_pass(error)):
                raise
            log.error("thumbnails and layers wait for the index, looking again in %g s: %s", LOOK_SECONDS, error)
            with self._condition:
                self._condition.wait_for(lambda: self._stopping, LOOK_SECONDS)
            return
        with self._condition:
            if not self._announced and not self._is_anything_back():
                self._idle = not self._in_hand
                self._condition.notify_all()
                self._condition.wait(LOOK_SECONDS)
                self._idle = False
            self._announced = False

    def _is_anything_back(self) -> bool:
        over = self._stopping and not self._in_hand
        return over or any(one.call.done() for one in self._in_hand)

    def _send_one(self) -> bool:
        now = self._now()
        for stage, lane in self._open_stages(now):
            if self._changes.is_to_be_asked(stage):
                role = LAYERS[stage].role
                self._send(Batch(stage, (), FindFaces(()) if role == FACES else EmbedText(role, ())), lane)
                self._changes.asked(stage)
                return True
            items = self._portions.take(stage, now)
            if not items:
                continue
            batch = prepare(self._store, stage, items, self._thumbnails, now)
            if batch is not None:
                self._send(batch, lane)
            self._portions.handed_on(stage)
            return True
        return False

    def _open_stages(self, now: float) -> Iterator[tuple[str, str]]:
        """The stages that could be sent now, each with its lane, in the order in which they have their turn."""
        busy: dict[str, int] = {}
        for one in self._in_hand:
            busy[one.lane] = busy.get(one.lane, 0) + 1
        for stage in self._portions.order():
            role = role_of(stage)
            lane = DECODE if role is None else lane_of_role(role, self._settings)
            if busy.get(lane, 0) >= AHEAD or self._holds.held(role or THUMBNAIL, now):
                continue
            if role is None or role_problem(self._settings, role) is None:
                yield stage, lane

    def _send(self, batch: Batch, lane: str) -> None:
        silence = SILENCE_SECONDS.get(batch.stage, LAYER_SILENCE_SECONDS)
        stamp = self._changes.stamp(batch.stage)
        call = self._workers.submit(batch.call, priority=Priority.BACKGROUND, timeout_seconds=silence)
        with self._condition:
            self._in_hand.append(_InHand(batch, lane, call, stamp))
        call.future.add_done_callback(lambda _future: self._wake())

    def _wake(self) -> None:
        with self._condition:
            self._condition.notify_all()

    def _finish(self, one: _InHand) -> None:
        error = one.call.future.exception()
        if error is not None:
            self._handle(one.batch, error)
            return
        try:
            settle(self._store, one.batch, one.call.result(), self._now())
        except WrongWidth as wrong:
            self._handle(one.batch, wrong)
            return
        role = role_of(one.batch.stage)
        self._holds.release(role or THUMBNAIL)
        if role is not None and one.stamp is not None:
            self._changes.note(one.batch.stage, one.stamp)

    def _handle(self, batch: Batch, error: BaseException) -> None:
        """Do what the verdict on a failed batch says."""
        work, now, stage = self._store.work, self._now(), batch.stage
        self._changes.not_noted(stage)
        if not batch.items:
            self._changes.ask_again(stage)
        match judge(batch, role_of(stage), error):
            case GiveBack():
                work.give_back(stage, batch.ids)
                if not self._stopping:  # the workers stop before we do: no use in asking them again and again
                    self._holds.hold(role_of(stage) or THUMBNAIL, str(error), now)
            case Hold(role, reason):
                work.give_back(stage, batch.ids)
                if self._holds.hold(role, reason, now):
                    log.warning("work for %s waits: %s", role, reason)
            case Smaller():
                work.give_back(stage, batch.ids)
                largest = self._portions.halve(stage, len(batch.items))
                log.info("%s goes on with batches of %d: %s", stage, largest, error)
            case Isolate():
                log.warning("%s: a batch of %d failed, trying them one by one: %s", stage, len(batch.items), error)
                for image_id in batch.ids:
                    work.failed(stage, image_id, str(error), retry_at=now)
            case Later(seconds):
                work.failed(stage, batch.ids[0], str(error), retry_at=now + seconds)
            case SetAside():
                log.warning("%s: image %d is set aside: %s", stage, batch.ids[0], error)
                work.failed(stage, batch.ids[0], str(error), retry_at=None)


def _roles() -> list[str]:
    return sorted({layer.role for layer in LAYERS.values()})
