"""What becomes of sightings: images by content, places by path, nothing lost, nothing odd that stops a batch."""

from __future__ import annotations

from dataclasses import replace

import pytest

from indexd.fs.file_stamp import FileStamp
from indexd.image_metadata.model import ControlUse, MetadataLora, RawChunk, SamplerPass
from indexd.store.protocols import IndexStore
from indexd.store.records import Filter, IngestResult, ScannedFile
from tests.unit.store.sample_rows import Library


def test_a_new_image_is_stored_completely(store: IndexStore, library: Library) -> None:
    loras = (MetadataLora("grain", 0.5, None, "abc"), MetadataLora("tweak", -1.25, 0.75))
    image_id = library.add(
        "june/a.png",
        generator="a1111",
        prompt="a cat on a mat",
        negative_prompt="blurry",
        seed=str(2**64 - 1),
        steps=30,
        cfg=7.5,
        sampler="Euler a",
        schedule="karras",
        model_name="pony",
        loras=loras,
        controls=(ControlUse("canny", None, 1.0, 0.0, 0.5),),
        passes=(SamplerPass(seed="1", steps=20),),
        extras=(("Hires upscale", "2"), ("Version", "v1.9")),
        raw=(RawChunk("png:parameters", "latin-1", "a cat on a mat"), RawChunk("xmp", "utf-8", "<x/>")),
        created_at=123.0,
    )
    row = store.images.get(image_id)
    assert row is not None
    assert (row.prompt, row.negative_prompt, row.seed, row.steps, row.cfg) == (
        "a cat on a mat",
        "blurry",
        str(2**64 - 1),
        30,
        7.5,
    )
    assert (row.width, row.height, row.format, row.added_at, row.created_at) == (64, 48, "PNG", 50.0, 123.0)
    assert (row.sampler, row.schedule, row.model_name, row.generator) == ("Euler a", "karras", "pony", "a1111")
    assert row.loras == loras
    assert row.extras == (("Hires upscale", "2"), ("Version", "v1.9"))
    assert [file.path for file in row.files] == [b"/pictures/june/a.png"]
    assert row.rating is None
    assert row.tags == ()
    assert store.images.raw_chunks(image_id) == [
        RawChunk("png:parameters", "latin-1", "a cat on a mat"),
        RawChunk("xmp", "utf-8", "<x/>"),
    ]
    assert store.images.get_by_hash(row.content_hash) == row
    assert store.images.content_hashes([image_id]) == {image_id: row.content_hash}


def test_an_image_without_a_date_gets_that_of_its_file(store: IndexStore, library: Library) -> None:
    row = store.images.get(library.add("a.png"))
    assert row is not None
    assert row.created_at == 1_700_000_000.0


def test_the_same_content_is_one_image_with_several_files(store: IndexStore, library: Library) -> None:
    batch = [library.sighting("a.png", "same"), library.sighting("b.png", "same"), library.sighting("c.png", "other")]
    first, second, third = store.images.ingest(batch, 1.0)
    assert (first.outcome, second.outcome, third.outcome) == ("new", "known", "new")
    assert first.image_id == second.image_id != third.image_id
    assert store.images.ingest([library.sighting("d.png", "same")], 2.0) == [IngestResult(first.image_id, "known")]
    assert store.images.count() == 2
    row = store.images.get(first.image_id or 0)
    assert row is not None
    assert sorted(file.rel for file in row.files) == [b"a.png", b"b.png", b"d.png"]
    assert [hit for hit, _ in store.fulltext.match("d.png", 5)] == [first.image_id]


def test_a_path_whose_content_changed_points_to_the_new_content(store: IndexStore, library: Library) -> None:
    old = library.add("a.png", "first")
    store.annotations.rate([old], 5)
    new = library.add("a.png", "second")
    before, after = store.images.get(old), store.images.get(new)
    assert before is not None
    assert after is not None
    assert (before.files, before.rating) == ((), 5)
    assert [file.rel for file in after.files] == [b"a.png"]
    assert [hit for hit, _ in store.fulltext.match("a.png", 5)] == [new]


def test_only_new_content_is_queued(store: IndexStore, library: Library) -> None:
    image_id = library.add("a.png", "same", stages=("thumbnail", "clip_h"))
    assert [(row.stage, row.state) for row in store.index_tasks.of_image(image_id)] == [
        ("clip_h", "pending"),
        ("thumbnail", "pending"),
    ]
    store.index_tasks.mark_done("thumbnail", [image_id])
    library.add("b.png", "same", stages=("thumbnail", "clip_h"))
    assert [row.stage for row in store.index_tasks.of_image(image_id)] == ["clip_h"]


def test_a_file_that_is_not_an_image_is_stored_with_its_problem(store: IndexStore, library: Library) -> None:
    sighting = ScannedFile(library.root.id, b"notes.png", FileStamp(3, 4, 5), None, "not a picture: text")
    assert store.images.ingest([sighting], 1.0) == [IngestResult(None, "problem")]
    assert store.files.present_stamps(library.root.id) == {b"notes.png": FileStamp(3, 4, 5)}
    found = store.files.find(b"/pictures/notes.png")
    assert found is not None
    assert (found.image_id, found.problem) == (None, "not a picture: text")
    assert store.images.count() == 0


def test_a_file_that_became_an_image_loses_its_problem(store: IndexStore, library: Library) -> None:
    store.images.ingest([ScannedFile(library.root.id, b"a.png", FileStamp(0, 0, 0), None, "empty")], 1.0)
    library.add("a.png")
    found = store.files.find(b"/pictures/a.png")
    assert found is not None
    assert found.problem is None
    assert found.image_id is not None


def test_odd_metadata_does_not_stop_the_batch(store: IndexStore, library: Library) -> None:
    odd = library.sighting(
        b"\xff\xfe odd.png",
        prompt="lone \ud800 surrogate and \0 nul",
        seed="007",
        steps=10**30,
        cfg=float("nan"),
        denoise=float("inf"),
        extras=(("\udfff", "\ud800"),),
        raw=(RawChunk("\ud800", "utf-16", "raw \ud800 kept"),),
        loras=(MetadataLora("\ud801", float("inf")),),
        created_at=float("nan"),
    )
    odd_row, good = store.images.ingest([odd, library.sighting("good.png")], 1.0)
    assert good.outcome == "new"
    row = store.images.get(odd_row.image_id or 0)
    assert row is not None
    assert row.prompt == "lone ? surrogate and \0 nul"
    assert (row.seed, row.steps, row.cfg, row.denoise, row.created_at) == ("7", None, None, None, 1_700_000_000.0)
    assert row.loras == (MetadataLora("?", None),)
    assert row.files[0].rel == b"\xff\xfe odd.png"
    assert store.images.raw_chunks(row.id)[0].text == "raw \ud800 kept"


def test_a_64_bit_inode_is_read_back_unchanged(store: IndexStore, library: Library) -> None:
    stamp = FileStamp(1, -5, 2**64 - 1)
    store.images.ingest([ScannedFile(library.root.id, b"x", stamp, None, "no picture")], 1.0)
    assert store.files.present_stamps(library.root.id) == {b"x": stamp}


def test_an_empty_batch_is_accepted(store: IndexStore) -> None:
    assert store.images.ingest([], 1.0) == []


def test_a_batch_is_atomic(store: IndexStore, library: Library) -> None:
    stray = ScannedFile(library.root.id + 99, b"x.png", FileStamp(1, 1, 1), None, "of no root")
    with pytest.raises(Exception, match="FOREIGN KEY"):
        store.images.ingest([library.sighting("a.png", prompt="cat"), stray], 1.0)
    assert store.images.count() == 0
    assert store.files.present_stamps(library.root.id) == {}
    assert store.fulltext.match("cat", 5) == []
    assert store.filters.ids([Filter("prompt", "has")]) == set()


def test_prompts_and_paths_are_read_in_bulk(store: IndexStore, library: Library) -> None:
    cat = library.add("cat.png", prompt="cat", negative_prompt="dog")
    blank = library.add("blank.png", prompt="  ")
    bare = library.add("bare.png")
    assert store.images.prompts([cat, blank, bare], "prompt") == {cat: "cat"}
    assert store.images.prompts([cat, blank, bare], "negative_prompt") == {cat: "dog"}
    store.files.mark_missing(library.root.id, [b"bare.png"], 9.0)
    assert store.images.paths([cat, bare, 999]) == {cat: b"/pictures/cat.png"}


def test_a_path_on_an_online_root_is_preferred(store: IndexStore, library: Library) -> None:
    image_id = library.add("a.png", "same")
    other = store.roots.ensure(b"/copies", "images")
    Library(store, other).add("b.png", "same")
    store.roots.set_state(library.root.id, online=False, identity=None, mode="", reason="unplugged")
    assert store.images.paths([image_id]) == {image_id: b"/copies/b.png"}


def test_a_decode_problem_is_stored_and_cleared(store: IndexStore, library: Library) -> None:
    image_id = library.add("a.png")
    store.images.set_decode_problem(image_id, "truncated")
    row = store.images.get(image_id)
    assert row is not None
    assert row.decode_problem == "truncated"
    store.images.set_decode_problem(image_id, None)
    row = store.images.get(image_id)
    assert row is not None
    assert row.decode_problem is None


def test_unknown_ids_are_left_out(store: IndexStore, library: Library) -> None:
    image_id = library.add("a.png")
    assert list(store.images.rows([image_id, 12345])) == [image_id]
    assert store.images.get(12345) is None
    assert store.images.get_by_hash(b"nothing") is None


def test_a_later_file_time_becomes_the_date_unless_the_image_states_one(store: IndexStore, library: Library) -> None:
    plain, stated = library.add("plain.png"), library.add("stated.png", created_at=123.0)
    for scanned in (library.sighting("plain.png"), library.sighting("stated.png", created_at=123.0)):
        later = scanned.stamp._replace(mtime_ns=scanned.stamp.mtime_ns - 10**9)
        store.images.ingest([replace(scanned, stamp=later)], 60.0)
    dates = {image_id: row.created_at for image_id in (plain, stated) if (row := store.images.get(image_id))}
    assert dates == {plain: 1_700_000_000.0 - 1, stated: 123.0}


def test_a_file_time_within_the_stated_day_is_the_more_precise_date(store: IndexStore, library: Library) -> None:
    file_time = library.sighting("any.png").stamp.mtime_ns / 1e9
    within = library.add("within.png", created_at=file_time - 60.0, created_until=file_time + 60.0, created_from="date")
    other = library.add("other.png", created_at=file_time - 60.0, created_until=file_time - 30.0, created_from="date")
    dates = {one: (row.created_at, row.created_from) for one in (within, other) if (row := store.images.get(one))}
    assert dates == {within: (file_time, None), other: (file_time - 60.0, "date")}


def test_a_stated_date_keeps_its_source_when_the_file_time_happens_to_be_equal(
    store: IndexStore, library: Library
) -> None:
    scanned = library.sighting("a.png", created_at=1_700_000_000.0, created_from="exif:DateTimeOriginal")
    image_id = store.images.ingest([scanned], 50.0)[0].image_id
    assert image_id is not None
    touched = scanned.stamp._replace(mtime_ns=scanned.stamp.mtime_ns + 10**9)
    store.images.ingest([replace(scanned, stamp=touched)], 60.0)
    row = store.images.get(image_id)
    assert row is not None
    assert (row.created_at, row.created_from) == (1_700_000_000.0, "exif:DateTimeOriginal")


@pytest.mark.parametrize("file_time", [9_223_372_036.8, 315_532_800.0])
def test_an_implausible_file_time_is_no_creation_date(store: IndexStore, library: Library, file_time: float) -> None:
    scanned = library.sighting("odd.png")
    odd = replace(scanned, stamp=scanned.stamp._replace(mtime_ns=int(file_time * 1e9)))
    [result] = store.images.ingest([odd], 1_800_000_000.0)
    assert result.image_id is not None
    row = store.images.get(result.image_id)
    assert row is not None
    assert (row.created_at, row.created_from) == (1_800_000_000.0, None)
    store.images.ingest([scanned], 1_800_000_060.0)
    row = store.images.get(result.image_id)
    assert row is not None
    assert row.created_at == scanned.stamp.mtime_ns / 1e9
