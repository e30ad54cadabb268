"""What the daemon does of itself, besides wiring the rooms: its own folders, and notes that a full disk may cost."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexd.config import read_config
from indexd.daemon import Daemon, watched_roots
from indexd.errors import SettingsError, StorageFull, StoreError
from indexd.instance_lock import instance_lock
from indexd.store.protocols import IndexStore
from indexd.store.sqlite.store import SqliteStore


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    disk = tmp_path / "disk"
    disk.mkdir()
    return disk


@pytest.fixture
def store(tmp_path: Path) -> Iterator[IndexStore]:
    with SqliteStore.open(tmp_path / "index.db") as store:
        yield store


def test_our_own_folders_are_made_the_first_time(tmp_path: Path, store: IndexStore) -> None:
    config = read_config(tmp_path / "home", {"paths": {"output": str(tmp_path / "new" / "output")}})
    watched_roots(config, store)
    assert (tmp_path / "new" / "output").is_dir()
    assert config.paths.inbox.is_dir()


def test_an_output_folder_whose_disk_is_gone_is_not_made_again_in_its_place(
    tmp_path: Path, disk: Path, store: IndexStore
) -> None:
    config = read_config(tmp_path / "home", {"paths": {"output": str(disk / "pictures" / "output")}})
    output = next(root for root in watched_roots(config, store) if root.path == bytes(config.paths.output))
    store.roots.set_state(output.id, online=True, identity="1:2", mode="native", reason="")
    shutil.rmtree(disk / "pictures")
    watched_roots(config, store)
    assert list(disk.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path, store: IndexStore) -> None:
    (tmp_path / "file").touch()
    config = read_config(tmp_path / "home", {"paths": {"inbox": str(tmp_path / "file" / "inbox")}})
    with pytest.raises(SettingsError, match=r"inbox cannot be made: .*correct \[paths\]"):
        watched_roots(config, store)


def test_a_full_disk_costs_the_note_and_not_the_thread_that_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object, **_more: object) -> None:
        raise StorageFull("the disk is full")

    daemon = Daemon(read_config(tmp_path / "home"))
    daemon.open()
    monkeypatch.setattr(daemon.store.events, "add", full)
    daemon._on_event("worker_died", "the card worker ended with signal 9")
    daemon.stop()


def test_one_daemon_an_index_also_from_two_homes(tmp_path: Path) -> None:
    shared = {"paths": {"index": str(tmp_path / "index.db")}}
    with (
        instance_lock(read_config(tmp_path / "one", shared)),
        pytest.raises(StoreError, match="already running"),
        instance_lock(read_config(tmp_path / "two", shared)),
    ):
        pass
