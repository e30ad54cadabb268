"""Delivered files are remembered for a limited time, independent of scans."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from indexd.fs.file_stamp import FileStamp, SettledFile
from indexd.watch.delivery import _REMEMBERED_SECONDS, Delivery
from indexd.watch.indexed_files import InMemoryIndexedFiles
from indexd.watch.root_context import RootContext
from indexd.watch.roots import WatchedRoot

STAMP = FileStamp(1, 2, 3)


def delivery_of(folder: Path, deliver: Callable[[SettledFile], None], now: list[float]) -> Delivery:
    context = RootContext(InMemoryIndexedFiles(), deliver, lambda *_event: None, wall=lambda: now[0])
    return Delivery(WatchedRoot(1, os.fsencode(folder)), context)


def test_old_deliveries_expire_between_scans(folder: Path) -> None:
    now = [1000.0]
    delivered: list[SettledFile] = []
    delivery = delivery_of(folder, delivered.append, now)
    for number in range(20):
        delivery.deliver(b"%d.png" % number, STAMP)
        now[0] += _REMEMBERED_SECONDS / 10
    there = [delivery.is_in_flight(b"%d.png" % number, STAMP) for number in range(20)]
    assert len(delivered) == 20
    assert not any(there[:8])
    assert all(there[11:])


def test_a_clock_that_jumps_back_expires_no_delivery(folder: Path) -> None:
    now = [1_000_000.0]
    delivery = delivery_of(folder, lambda _file: None, now)
    delivery.deliver(b"a.png", STAMP)
    now[0] -= 90_000
    delivery.deliver(b"b.png", STAMP)
    assert delivery.is_in_flight(b"a.png", STAMP)
    now[0] += 200
    delivery.deliver(b"c.png", STAMP)
    assert delivery.is_in_flight(b"b.png", STAMP)
