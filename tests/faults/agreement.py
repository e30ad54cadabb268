"""What must hold after whatever happened: the ledger, the folders and the index agree, and nothing half-made lies about."""

from __future__ import annotations

import os
from pathlib import Path

from blake3 import blake3

from indexd.config import read_config
from indexd.store.protocols import IndexStore
from indexd.store.sqlite.recovery.index_check import check_index
from indexd.store.sqlite.store import SqliteStore
from tests.faults.instant import POISON


def disagreements(home: Path, pictures: Path | None = None) -> list[str]:
    """What is wrong in the home of a daemon that was idle and has been stopped; empty = all is well."""
    config = read_config(home)
    wrong = [
        f"{found.name}: {found.detail}"
        for found in check_index(config.paths.index, full=True)
        if found.state == "failed"
    ]
    with SqliteStore.open(config.paths.index) as store:
        wrong += [
            *_ledger(store),
            *_inbox(home, store),
            *_files(store, (pictures or home / "pictures", home / "output")),
        ]
    strays = [path for path in home.rglob("*") if path.name.endswith((".part", ".tmp"))]
    return wrong + [f"{path} was left lying" for path in strays]


def _ledger(store: IndexStore) -> list[str]:
    """Every job came to its end; every picture that was published is there, with its bytes, once."""
    wrong, published = [], set()
    for job in store.jobs.list(limit=1_000_000):
        hopeless = POISON.encode() in job.source
        if job.state != ("failed" if hopeless else "done"):
            wrong.append(f"job {job.id} ({job.name}) is {job.state}: {job.error}")
        for item in store.jobs.items(job.id):
            if hopeless:
                continue
            path = Path(os.fsdecode(item.path))
            if item.state != "done" or not path.is_file():
                wrong.append(f"job {job.id}, item {item.index}: {item.state}, {path}: {item.error}")
            elif blake3(path.read_bytes()).digest() != item.content_hash:
                wrong.append(f"{path} has other bytes than the ledger says")
            if item.path in published:
                wrong.append(f"{path} was published twice")
            published.add(item.path)
    return wrong


def _inbox(home: Path, store: IndexStore) -> list[str]:
    inbox = home / "inbox"
    wrong = [f"{path} was not taken" for path in inbox.glob("*.yaml")]
    wrong += [
        f"{path} ({path.stat().st_size} bytes) is still under way" for path in (inbox / "accepted").glob("*.yaml")
    ]
    done, failed = (len(list((inbox / folder).glob("*.yaml"))) for folder in ("done", "failed"))
    counts = store.jobs.counts()
    if done != counts.get("done", 0) or failed < counts.get("failed", 0):
        wrong.append(f"the inbox has {done} done and {failed} failed, the ledger {counts}")
    return wrong


def _files(store: IndexStore, folders: tuple[Path, ...]) -> list[str]:
    """The index knows as present what is there, no more and no less, and each file by its content."""
    wrong = []
    roots = {os.fsdecode(root.path): root.id for root in store.roots.all()}
    for folder in folders:
        there = {os.fsencode(path.relative_to(folder)) for path in folder.rglob("*.png") if path.is_file()}
        known = set(store.files.present_stamps(roots[str(folder)]))
        wrong += [f"{folder}: {rel!r} is not in the index" for rel in sorted(there - known)[:5]]
        wrong += [f"{folder}: {rel!r} is in the index and not there" for rel in sorted(known - there)[:5]]
        for rel in sorted(there & known)[::7]:
            content = (folder / os.fsdecode(rel)).read_bytes()
            if store.images.get_by_hash(blake3(content).digest()) is None:
                wrong.append(f"{folder}: the content of {rel!r} is not in the index")
    return wrong
