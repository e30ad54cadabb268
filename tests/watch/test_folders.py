"""Which folders are watched, and to which of them a file belongs that lies in several."""

from __future__ import annotations

import os
from pathlib import Path

from indexd.config import Config, load
from indexd.daemon import watched_roots
from indexd.images.facts import ImageFacts, Metadata
from indexd.store.index import Store
from indexd.store.records import Sighting
from indexd.watch.folders import watched_folders
from indexd.watch.stamp import FileStamp


def settings(tmp_path: Path, *roots: str, output: str = "output") -> Config:
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    lines = [
        f'[paths]\noutput = "{tmp_path / output}"\n',
        *(f'[[roots]]\npath = "{tmp_path / root}"\n' for root in roots),
    ]
    (home / "indexd.toml").write_text("".join(lines), "utf-8")
    return load(home)


def test_what_lies_in_a_folder_that_is_watched_by_itself_belongs_to_it(tmp_path: Path) -> None:
    config = settings(tmp_path, "all", "all/new", "all/new/best", "allies", output="all/made")
    found = {
        Path(os.fsdecode(one.path)).name: one.selection for one in watched_folders(config) if one.purpose == "images"
    }
    assert found["all"].wants(b"old/x.png")
    assert found["all"].wants(b"newer/x.png")
    assert found["all"].why_not(b"new/x.png") == "the folder new is watched by itself"
    assert not found["all"].enters(b"made")
    assert not found["all"].wants(b"new/best/deep/x.png")
    assert found["new"].wants(b"x.png")
    assert not found["new"].wants(b"best/x.png")
    assert found["best"].wants(b"deep/x.png")
    assert found["allies"].wants(b"new/x.png")


def seen(root: int, rel: bytes) -> Sighting:
    return Sighting(root, rel, FileStamp(5, 5, 5), ImageFacts(rel.ljust(32)[-32:], 5, "PNG", 8, 8, 1, Metadata()))


def places(store: Store) -> list[str]:
    with store._database.read() as connection:
        rows = connection.execute("SELECT path, rel FROM file JOIN root ON root.id = root_id").fetchall()
    return sorted(f"{Path(os.fsdecode(path)).name}: {os.fsdecode(rel)}" for path, rel in rows)


def test_files_change_hands_with_the_settings_and_keep_their_pictures(tmp_path: Path) -> None:
    with Store.open(tmp_path / "index.db") as store:
        (outer, *_) = watched_roots(settings(tmp_path, "all"), store)
        batch = [seen(outer.id, rel) for rel in (b"a.png", b"new/b.png", b"new/best/c.png", b"newer/d.png")]
        ids = [one.image_id or 0 for one in store.images.record(batch, 1.0)]
        store.marks.rate(ids, 5)
        nested = watched_roots(settings(tmp_path, "all", "all/new", "all/new/best"), store)
        assert places(store) == ["all: a.png", "all: newer/d.png", "best: c.png", "new: b.png"]
        # Both had it, as they did before there was a rule.
        store.images.record(
            [seen(outer.id, b"new/b.png"), seen(nested[1].id, b"e.png"), seen(outer.id, b"new/e.png")], 2.0
        )
        watched_roots(settings(tmp_path, "all", "all/new", "all/new/best"), store)
        assert places(store) == ["all: a.png", "all: newer/d.png", "best: c.png", "new: b.png", "new: e.png"]
        watched_roots(settings(tmp_path, "all"), store)
        assert places(store) == [
            f"all: {rel}" for rel in ("a.png", "new/b.png", "new/best/c.png", "new/e.png", "newer/d.png")
        ]
        assert {row.rating for row in store.images.rows(ids).values()} == {5}


def test_a_folder_that_left_the_settings_keeps_its_pictures_where_no_other_holds_it(tmp_path: Path) -> None:
    with Store.open(tmp_path / "index.db") as store:
        root, *_ = watched_roots(settings(tmp_path, "one"), store)
        store.images.record([seen(root.id, b"a.png")], 1.0)
        watched_roots(settings(tmp_path, "two"), store)
        assert places(store) == ["one: a.png"]
