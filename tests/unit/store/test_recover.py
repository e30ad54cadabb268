"""A damaged index at the start is renamed and rebuilt, and every readable annotation is kept."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

import apsw
import pytest
from hypothesis import settings

from indexd.errors import IndexDamaged, StorageFull, StoreError
from indexd.fs.file_stamp import FileStamp
from indexd.image_metadata.model import ImageFacts, MetadataLora, RawChunk
from indexd.store.records import ScannedFile, StageInput
from indexd.store.sqlite.database import PAGE_BYTES, suspect_marker
from indexd.store.sqlite.faulty_vfs import FaultyDisk
from indexd.store.sqlite.migrate import open_database
from indexd.store.sqlite.recovery import recover as recover_module
from indexd.store.sqlite.recovery.backup import verify_backup, write_backup
from indexd.store.sqlite.recovery.backup_retention import backup_path
from indexd.store.sqlite.recovery.recover import RecoveryReport, recover_index
from indexd.store.sqlite.recovery.salvage import open_with_header, read_header_if_truncated
from indexd.store.sqlite.store import SqliteStore
from tests.unit.store.sample_rows import Library, new_job, unit_vectors

STAGES: dict[str, StageInput] = {"thumbnail": "image", "clip_h": "image", "bge_prompt": "prompt"}
PICTURES = 900
YESTERDAY, NOW = 1_700_000_000.0, 1_700_086_400.0


@dataclass
class Home:
    """An index as a person left it."""

    path: Path
    sightings: dict[int, ScannedFile] = field(default_factory=dict)
    rated: dict[int, int] = field(default_factory=dict)
    tagged: set[int] = field(default_factory=set)
    noted: dict[int, str] = field(default_factory=dict)
    jobs: list[str] = field(default_factory=list)

    @property
    def backups(self) -> Path:
        return self.path.parent / "backups"

    def back_up(self) -> None:
        write_backup(self.path, backup_path(self.backups, YESTERDAY))

    def recover(self, *, whole: bool = True) -> RecoveryReport | None:
        if whole:
            suspect_marker(self.path).touch()
        return recover_index(self.path, self.backups, NOW, STAGES)

    def page_of(self, table: str, row: int = 0) -> int:
        """The number (from 0) of a leaf page of a table: the `row`-th of its pages."""
        connection = apsw.Connection(str(self.path))
        pages = connection.execute(
            "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY path", (table,)
        ).fetchall()
        connection.close()
        page = pages[row][0]
        assert isinstance(page, int)
        return page - 1

    def spoil(self, *pages: int) -> None:
        content = bytearray(self.path.read_bytes())
        for page in pages:
            content[page * PAGE_BYTES : (page + 1) * PAGE_BYTES] = random.Random(page).randbytes(PAGE_BYTES)
        self.path.write_bytes(content)

    def check(self) -> SqliteStore:
        """Everything a person entered, and the ledger, are there; the file is whole."""
        verify_backup(self.path)
        store = SqliteStore.open(self.path)
        rows = store.images.rows(self.sightings)
        assert {i: row.rating for i, row in rows.items() if row.rating} == self.rated
        assert {i for i, row in rows.items() if row.tags == ("keep", "sea")} == self.tagged
        assert {i: row.note for i, row in rows.items() if row.note} == self.noted
        assert [(job.name, job.source) for job in store.jobs.list()] == [
            (name, new_job(items=3).source) for name in self.jobs
        ]
        assert all(len(store.jobs.items(job.id)) == 3 for job in store.jobs.list())
        return store


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "index.db")
    with SqliteStore.open(home.path) as store:
        library = Library(store, store.roots.ensure(b"/pictures", "images"))
        batch = [
            library.sighting(
                f"{number}.png",
                stages=tuple(STAGES),
                prompt=f"lighthouse number{number} " + "and waves " * 40,
                generator="a1111",
                seed=str(number),
                raw=(RawChunk("png:parameters", "latin-1", random.Random(number).randbytes(150).hex()),),
                loras=(MetadataLora("oils", 0.5),),
            )
            for number in range(PICTURES)
        ]
        for sighting, recorded in zip(batch, store.images.ingest(batch, 50.0), strict=True):
            assert recorded.image_id is not None
            home.sightings[recorded.image_id] = sighting
        ids = list(home.sightings)
        revision = store.vectors.activate("clip_h", "model", 32, "image")
        store.vectors.put("clip_h", revision, ids, unit_vectors(PICTURES, 32))
        home.rated = {image_id: 1 + image_id % 5 for image_id in ids[::2]}
        for stars in range(1, 6):
            store.annotations.rate([i for i, rating in home.rated.items() if rating == stars], stars)
        home.tagged = set(ids[::3])
        store.annotations.tag(ids[::3], ["keep", "sea"])
        home.noted = {ids[3]: "the good one", ids[-1]: "the last one"}
        for image_id, text in home.noted.items():
            store.annotations.note([image_id], text)
        home.jobs = [store.jobs.admit(new_job(items=3)).name]
    return home


def seen_again(home: Home, store: SqliteStore) -> None:
    """What the scan does: every file whose stamp is not the known one is read and recorded."""
    (root,) = store.roots.all()
    known = store.files.present_stamps(root.id)
    changed = [one for one in home.sightings.values() if known.get(one.rel) != one.stamp]
    store.images.ingest(changed, NOW)


def facts(home: Home, store: SqliteStore) -> dict[int, tuple[object, ...]]:
    rows = store.images.rows(home.sightings)
    return {
        image_id: (row.content_hash, row.prompt, row.seed, row.loras, [file.rel for file in row.files])
        for image_id, row in rows.items()
    }


def test_an_intact_index_is_not_changed(home: Home) -> None:
    before = home.path.read_bytes()
    assert home.recover(whole=False) is None
    assert home.recover() is None
    assert home.path.read_bytes() == before
    assert [file.name for file in home.path.parent.iterdir()] == ["index.db"]


def test_a_missing_index_is_not_damage(tmp_path: Path) -> None:
    assert recover_index(tmp_path / "index.db", tmp_path / "backups", NOW, STAGES) is None
    (tmp_path / "index.db").touch()
    assert recover_index(tmp_path / "index.db", tmp_path / "backups", NOW, STAGES) is None


def test_the_file_of_another_program_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "diary.db"
    path.write_bytes(b"dear diary, " * 10_000)
    assert recover_index(path, tmp_path / "backups", NOW, STAGES) is None
    with pytest.raises(StoreError, match="damaged or not an index"):
        SqliteStore.open(path)
    assert [file.name for file in tmp_path.iterdir()] == ["diary.db"]
    path.unlink()
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE theirs (x)").fetchall()
    connection.close()
    before = path.read_bytes()
    assert recover_index(path, tmp_path / "backups", NOW, STAGES) is None
    assert path.read_bytes() == before


def truncate(home: Home) -> None:
    content = home.path.read_bytes()
    home.path.write_bytes(content[: len(content) * 2 // 3 + 77])


def zero_the_header(home: Home) -> None:
    content = home.path.read_bytes()
    home.path.write_bytes(bytes(100) + content[100:])


def flip_in_the_header(home: Home) -> None:
    content = bytearray(home.path.read_bytes())
    content[3] ^= 0xFF
    content[17] ^= 0xFF
    home.path.write_bytes(content)


def zero_the_first_page(home: Home) -> None:
    home.path.write_bytes(bytes(PAGE_BYTES) + home.path.read_bytes()[PAGE_BYTES:])


def empty_the_file(home: Home) -> None:
    home.path.write_bytes(b"")


def leave_only_the_first_page(home: Home) -> None:
    home.path.write_bytes(home.path.read_bytes()[:PAGE_BYTES])


@pytest.mark.parametrize(
    "damage",
    [truncate, zero_the_header, flip_in_the_header, zero_the_first_page, empty_the_file, leave_only_the_first_page],
)
def test_with_a_complete_backup_nothing_is_lost(home: Home, damage: object) -> None:
    home.back_up()
    damage(home)  # type: ignore[operator]
    damaged = home.path.read_bytes()
    recovered = home.recover(whole=False)
    assert recovered is not None
    assert recovered.aside is not None
    assert recovered.aside.read_bytes() == damaged
    assert "set aside as" in recovered.summary()
    assert "\n" not in recovered.summary()
    with home.check() as store:
        assert len(store.fulltext.match("lighthouse", 2000)) == PICTURES
        seen_again(home, store)
        assert facts(home, store) == {
            image_id: (
                one.facts.content_hash,
                one.facts.metadata.prompt,
                str(image_id - 1),
                one.facts.metadata.loras,
                [one.rel],
            )
            for image_id, one in home.sightings.items()
            if isinstance(one.facts, ImageFacts)
        }


@pytest.mark.parametrize("damage", [zero_the_header, flip_in_the_header])
def test_without_header_and_backup_everything_is_read_from_the_file(home: Home, damage: object) -> None:
    damage(home)  # type: ignore[operator]
    assert home.recover(whole=False) is not None
    with home.check() as store:
        assert store.index_tasks.counts() == {stage: {"pending": PICTURES} for stage in STAGES}


@pytest.mark.parametrize("table", ["image_text", "raw_chunk", "lora_use", "file", "image_by_model", "prompt_fts_data"])
def test_a_lost_page_of_metadata_loses_no_annotation(home: Home, table: str) -> None:
    with SqliteStore.open(home.path) as store:
        before = facts(home, store)
    home.spoil(home.page_of(table))
    recovered = home.recover()
    assert recovered is not None
    assert recovered.backup is None
    with home.check() as store:
        assert store.images.count() == PICTURES
        # The scan reads the files of the pictures that lost something, and then all is as it was.
        seen_again(home, store)
        assert facts(home, store) == before
        assert store.images.raw_chunks(5) == list(home.sightings[5].facts.metadata.raw)  # type: ignore[union-attr]
        assert store.images.count() == PICTURES
        assert len(store.fulltext.match("lighthouse", 2000)) == PICTURES
        assert store.index_tasks.counts() == {stage: {"pending": PICTURES} for stage in STAGES}


def test_images_without_a_row_keep_their_annotations_by_path(home: Home) -> None:
    with SqliteStore.open(home.path) as store:
        before = facts(home, store)
    home.spoil(home.page_of("image", 1))
    recovered = home.recover()
    assert recovered is not None
    assert recovered.rebuilt.unread > 20
    assert recovered.rebuilt.dropped == {}
    with home.check() as store:
        seen_again(home, store)
        assert facts(home, store) == before
        assert store.images.count() == PICTURES
        for stage in STAGES:
            assert store.index_tasks.counts()[stage] == {"pending": PICTURES}


def test_an_unreadable_file_does_not_stop_the_recovery_of_an_index_without_any_image_row(home: Home) -> None:
    connection = apsw.Connection(str(home.path))
    connection.execute("UPDATE file SET image_id = NULL, problem = 'broken' WHERE id = 7")
    query = "SELECT count(*) FROM dbstat WHERE name = 'image' AND pagetype = 'leaf'"
    leaves = int(str(connection.execute(query).fetchall()[0][0]))
    connection.close()
    home.spoil(*(home.page_of("image", row) for row in range(leaves)))
    recovered = home.recover()
    assert recovered is not None
    assert recovered.rebuilt.unread == PICTURES - 1
    verify_backup(home.path)


def test_another_image_at_the_same_path_does_not_inherit_annotations(home: Home) -> None:
    home.spoil(home.page_of("image"))
    assert home.recover() is not None
    with SqliteStore.open(home.path) as store:
        library = Library(store, store.roots.all()[0])
        one = library.sighting("0.png", content="something else")
        later = ScannedFile(one.root_id, one.rel, FileStamp(5, one.stamp.mtime_ns + 10**9, 7), one.facts)
        (recorded,) = store.images.ingest([later], NOW)
        assert recorded.outcome == "new"
        row = store.images.get(recorded.image_id or 0)
        assert row is not None
        assert row.rating is None
        kept = store.images.get(1)
        assert kept is not None
        assert kept.rating == home.rated[1]


@pytest.mark.parametrize("table", ["rating", "tag", "note", "job", "job_item"])
def test_a_lost_page_of_annotations_is_restored_from_the_backup(home: Home, table: str) -> None:
    home.back_up()
    home.spoil(home.page_of(table))
    recovered = home.recover()
    assert recovered is not None
    assert recovered.rebuilt.filled[table] > 0
    assert "2023-11-14" in recovered.summary()
    home.check().close()


def test_changes_since_the_backup_are_kept(home: Home) -> None:
    """Only what could not be read comes from the backup: a tag that was taken off is not put on again."""
    home.back_up()
    with SqliteStore.open(home.path) as store:
        store.annotations.rate([2], 5)
        home.rated[2] = 5
        store.annotations.rate([1], 0)
        del home.rated[1]
        store.annotations.tag([1], remove=["keep", "sea"])
        home.tagged.remove(1)
    home.spoil(home.page_of("image_text", 2), home.page_of("raw_chunk", 1), home.page_of("image", 1))
    recovered = home.recover()
    assert recovered is not None
    assert recovered.rebuilt.filled["image"] > 0
    with home.check() as store:
        assert store.images.count() == PICTURES


def test_a_damaged_backup_is_skipped_for_an_older_valid_one(home: Home) -> None:
    home.back_up()
    newer = backup_path(home.backups, YESTERDAY + 100)
    newer.write_bytes(home.path.read_bytes()[: 3 * PAGE_BYTES])
    empty_the_file(home)
    recovered = home.recover(whole=False)
    assert recovered is not None
    assert recovered.backup is not None
    assert recovered.backup.path == backup_path(home.backups, YESTERDAY)
    home.check().close()
    assert newer.exists()


def test_the_recovery_handles_any_changed_bytes(home: Home) -> None:
    """Whatever pages are lost, the start gets an index that is whole, and the damaged one is kept."""
    home.back_up()
    whole = home.path.read_bytes()
    for seed in range(8 if settings().max_examples < 1000 else 200):  # --hypothesis-profile=long
        chance = random.Random(seed)
        content = bytearray(whole)
        for _ in range(chance.randrange(1, 12)):
            start = chance.randrange(len(content))
            content[start : start + chance.choice((1, 40, 600, PAGE_BYTES, 5 * PAGE_BYTES))] = chance.randbytes(
                min(600, len(content) - start)
            )
        home.path.write_bytes(content)
        recovered = home.recover()
        verify_backup(home.path)
        with SqliteStore.open(home.path) as store:
            assert store.images.count() >= PICTURES * (recovered is not None)
        if recovered is not None and recovered.aside is not None:
            assert recovered.aside.exists()


def test_after_deletion_of_the_log_the_index_opens_or_is_recovered(home: Home) -> None:
    home.back_up()
    with SqliteStore.open(home.path) as store:
        store.annotations.rate(list(home.sightings), 2)
        log = home.path.with_name("index.db-wal")
        assert log.stat().st_size > 0
        content = home.path.read_bytes()
    # As if the machine had died before the log was written back, and somebody tidied up.
    home.path.write_bytes(content)
    log.unlink(missing_ok=True)
    assert home.recover() is None
    home.check().close()


def test_a_new_index_whose_log_was_deleted_is_restored_from_the_backup(home: Home) -> None:
    home.back_up()
    home.path.unlink()
    connection = apsw.Connection(str(home.path))
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    connection.close()
    recovered = home.recover(whole=False)
    assert recovered is not None
    home.check().close()


def test_damage_found_while_reading_leaves_a_marker_and_is_reported(home: Home) -> None:
    told: list[IndexDamaged] = []
    home.spoil(home.page_of("image_text", 3))
    # The quick look at a start reads both ends of every table, and not each page.
    assert home.recover(whole=False) is None
    with SqliteStore.open(home.path) as store:
        store.set_damage_listener(told.append)
        with pytest.raises(IndexDamaged, match="renames a damaged index"):
            store.images.rows(home.sightings)
    assert len(told) == 1
    assert suspect_marker(home.path).exists()
    assert home.recover(whole=False) is not None
    assert not suspect_marker(home.path).exists()
    home.check().close()


def test_without_space_for_the_new_index_the_damaged_one_stays_in_place(
    home: Home, monkeypatch: pytest.MonkeyPatch, disk: FaultyDisk
) -> None:
    home.spoil(home.page_of("image_text", 3))
    damaged = home.path.read_bytes()
    disk.fill_after(30)
    from indexd.store.sqlite.recovery import rebuild

    monkeypatch.setattr(rebuild, "open_database", lambda path: open_database(path, vfs=disk.name))
    with pytest.raises(StorageFull):
        home.recover()
    assert home.path.read_bytes() == damaged
    assert sorted(file.name for file in home.path.parent.iterdir()) == ["index.db", "index.db.suspect"]
    disk.repair()
    assert home.recover() is not None
    home.check().close()


def test_a_killed_rebuild_starts_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.spoil(home.page_of("image_text", 3))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(recover_module, "swap_index", killed)
        with pytest.raises(KeyboardInterrupt):
            home.recover()
    assert home.recover() is not None
    home.check().close()
    assert not list(home.path.parent.glob("*.incoming*"))


def test_a_truncated_page_counts_as_lost_and_not_as_zeros(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    connection = apsw.Connection(str(path))
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}").fetchall()
    connection.execute("CREATE TABLE words (text TEXT)")
    connection.execute("INSERT INTO words VALUES ('short')")
    connection.execute("INSERT INTO words VALUES (?)", ("waves and " * (PAGE_BYTES * 11 // 20),))
    connection.close()
    whole = path.read_bytes()
    assert read_header_if_truncated(path) is None
    path.write_bytes(whole[: 100 - PAGE_BYTES])
    header = read_header_if_truncated(path)
    assert header == whole[:100]
    careful = open_with_header(path, header)
    careful.execute("PRAGMA writable_schema = ON").fetchall()
    assert careful.execute("SELECT text FROM words WHERE rowid = 1").fetchall() == [("short",)]
    # Plain SQLite gives zeros or an input/output error here, as the page happens to be read.
    with pytest.raises(apsw.CorruptError):
        careful.execute("SELECT text FROM words WHERE rowid = 2").fetchall()
    careful.close()
    assert path.read_bytes() == whole[: 100 - PAGE_BYTES]
