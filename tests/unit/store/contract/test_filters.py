"""Conditions on metadata, alone, together and turned round."""

from __future__ import annotations

import datetime
import os

import pytest

from indexd.image_metadata.model import (
    CharacterPrompt,
    ChoiceUse,
    ControlUse,
    DetailerUse,
    EmbeddingUse,
    MetadataLora,
    ResourceUse,
)
from indexd.store.protocols import IndexStore
from indexd.store.records import Filter, ItemOutput
from tests.unit.store.sample_rows import Library, new_job

BIG = 2**64 - 1


def _day(day: int, hour: int = 12) -> float:
    return datetime.datetime(2026, 3, day, hour).astimezone().timestamp()


@pytest.fixture
def names(store: IndexStore, library: Library) -> dict[int, str]:
    """Three pictures: `full` states everything, `other` something else, `bare` nothing."""
    full = library.add(
        "Portraits/100%_cat.png",
        generator="ComfyUI",
        prompt="a cat",
        seed="99",
        steps=30,
        cfg=7.5,
        sampler="Euler a",
        schedule="karras",
        model_name="XL\\Pony V6.safetensors",
        loras=(MetadataLora("styles/Grain.safetensors"), MetadataLora("tweak")),
        created_at=_day(10),
        job="12/0",
    )
    other = library.add(
        "landscapes/sea.png",
        generator="a1111",
        prompt="the sea",
        seed=str(BIG),
        steps=20,
        cfg=5.0,
        sampler="DPM++ 2M",
        model_name="ÜberModel",
        created_at=_day(11, 23),
    )
    bare = library.add("landscapes/bare.png", seed="n/a", created_at=_day(12))
    store.annotations.rate([full], 5)
    store.annotations.rate([other], 2)
    store.annotations.tag([full], add=["Best", "print"])
    return {full: "full", other: "other", bare: "bare"}


def _met(store: IndexStore, names: dict[int, str], *filters: Filter) -> set[str]:
    ids = store.filters.ids(filters)
    assert ids is not None
    return {names[image_id] for image_id in ids}


def _is(key: str, value: str, negate: bool = False) -> Filter:
    return Filter(key, "=", value, negate=negate)


def _range(key: str, low: str | None, high: str | None) -> Filter:
    return Filter(key, "..", low=low, high=high)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (_is("generator", "comfyui"), {"full"}),
        (_is("sampler", "euler A"), {"full"}),
        (_is("sampler", "dpm*"), {"other"}),
        (_is("sampler", "dpm"), set()),
        (_is("sampler", "*"), {"full", "other"}),
        (_is("schedule", "Karras"), {"full"}),
        (_is("model", "xl\\pony v6.safetensors"), {"full"}),
        (_is("model", "pony v6"), {"full"}),
        (_is("model", "über*"), {"other"}),
        (_is("model", "ÜBERMODEL"), {"other"}),
        (_is("model", "nobody"), set()),
        (_is("lora", "grain"), {"full"}),
        (_is("lora", "tweak"), {"full"}),
        (_is("lora", "gra"), set()),
        (_is("seed", "99"), {"full"}),
        (_is("seed", "0099"), {"full"}),
        (_is("seed", str(BIG)), {"other"}),
        (_range("seed", "100", None), {"other"}),
        (_range("seed", "9", "100"), {"full"}),
        (_range("seed", None, str(BIG - 1)), {"full"}),
        (_range("seed", str(2**63), str(BIG)), {"other"}),
        (_range("seed", "abc", None), set()),
        (_is("steps", "30"), {"full"}),
        (_range("steps", "20", "29"), {"other"}),
        (_range("steps", None, "20"), {"other"}),
        (_is("steps", "many"), set()),
        (_is("cfg", "7.5"), {"full"}),
        (_range("cfg", "5", "7"), {"other"}),
        (_is("width", "64"), {"full", "other", "bare"}),
        (_range("height", "49", None), set()),
        (_is("rating", "5"), {"full"}),
        (_range("rating", "1", "3"), {"other"}),
        (_is("rating", "0"), {"bare"}),
        (_is("tag", "best"), {"full"}),
        (_is("tag", "pri*"), {"full"}),
        (_is("tag", "unknown"), set()),
        (_range("date", "2026-03-10", "2026-03-10"), {"full"}),
        (_range("date", "2026-03-11", None), {"other", "bare"}),
        (_range("date", None, "2026-03-11"), {"full", "other"}),
        (_is("date", "2026-03-12"), {"bare"}),
        (_range("date", "yesterday", None), set()),
        (_is("job", "12"), {"full"}),
        (_is("job", "12/0"), {"full"}),
        (_is("job", "1"), set()),
        (_is("path", "landscapes"), {"other", "bare"}),
        (_is("path", "LANDSCAPES"), {"other", "bare"}),
        (_is("path", "/pictures/landscapes/*"), {"other", "bare"}),
        (_is("path", "landscapes/*.png"), {"other", "bare"}),
        (_is("path", "*/sea.png"), {"other"}),
        (_is("path", "sea*"), set()),
        (_is("path", "100%_c"), {"full"}),
        (_is("path", "100_c"), set()),
        (_is("prompt", "sea the"), {"other"}),
        (_is("prompt", "!!"), set()),
        (_is("missing", "yes"), set()),
        (_is("missing", "no"), {"full", "other", "bare"}),
        (_is("missing", "perhaps"), set()),
        (Filter("model", "has"), {"full", "other"}),
        (Filter("lora", "has"), {"full"}),
        (Filter("rating", "has"), {"full", "other"}),
        (Filter("prompt", "has", negate=True), {"bare"}),
        (Filter("job", "has"), {"full"}),
        (_is("model", "pony*", negate=True), {"other", "bare"}),
        (_is("steps", "30", negate=True), {"other", "bare"}),
        (_is("tag", "unknown", negate=True), {"full", "other", "bare"}),
        (_is("lora", "grain", negate=True), {"other", "bare"}),
    ],
    ids=lambda value: str(sorted(value)) if isinstance(value, set) else str(value),
)
def test_a_filter_selects_images(store: IndexStore, names: dict[int, str], wanted: Filter, expected: set[str]) -> None:
    assert _met(store, names, wanted) == expected


def test_filters_are_combined_with_and(store: IndexStore, names: dict[int, str]) -> None:
    assert _met(store, names, _is("width", "64"), _range("steps", "1", "100"), _is("tag", "best", negate=True)) == {
        "other"
    }


def test_no_filter_is_no_restriction(store: IndexStore) -> None:
    assert store.filters.ids([]) is None


def test_an_unknown_key_is_an_error(store: IndexStore) -> None:
    with pytest.raises(ValueError, match="'colour'"):
        store.filters.ids([Filter("colour", "=", "red")])
    with pytest.raises(ValueError, match="'colour'"):
        store.filters.ids([Filter("colour", "has")])


@pytest.mark.parametrize("key", ["model", "lora", "tag", "path", "prompt", "job", "sampler", "seed", "missing", "date"])
@pytest.mark.parametrize("value", ["' OR 1=1 --", '"; DROP TABLE image', "\0", "\ud800", "[", "(*)", ""])
def test_hostile_values_find_nothing_and_break_nothing(
    store: IndexStore, names: dict[int, str], key: str, value: str
) -> None:
    assert _met(store, names, _is(key, value)) <= {"bare"}
    assert store.images.count() == 3


def test_an_image_is_missing_when_all_its_files_are(store: IndexStore, library: Library) -> None:
    one = library.add("a.png", "same")
    library.add("b.png", "same")
    two = library.add("c.png")
    store.files.mark_missing(library.root.id, [b"a.png", b"c.png"], 1.0)
    assert store.filters.ids([_is("missing", "yes")]) == {two}
    assert store.filters.ids([_is("missing", "no")]) == {one}


def test_images_are_found_by_the_job_that_published_them(store: IndexStore, library: Library) -> None:
    image_id = library.add("made.png", job="portraits/0")
    plain = library.add("plain.png")
    job = store.jobs.admit(new_job("Faces"))
    row = store.images.get(plain)
    assert row is not None
    store.jobs.mark_published(
        store.jobs.items(job.id)[0].id, ItemOutput(os.fsencode("/out/plain.png"), row.content_hash, 1.0)
    )
    assert store.filters.ids([_is("job", "faces")]) == {plain}
    assert store.filters.ids([Filter("job", "has")]) == {plain, image_id}
    assert [row.job for row in store.images.rows([plain, image_id]).values()] == ["portraits/0", f"{job.id}/0"]
    assert store.filters.ids([_is("job", str(job.id))]) == {plain}
    assert store.filters.ids([_is("job", "port*")]) == {image_id}
    assert store.filters.ids([_is("job", "faces", negate=True)]) == {image_id}


def test_images_sort_by_time_or_rating(store: IndexStore, library: Library) -> None:
    old, middle, new = (library.add(f"{at}.png", created_at=float(at)) for at in (1, 2, 3))
    same = library.add("same.png", created_at=3.0)
    assert store.filters.sorted_ids("newest", None, 10) == [same, new, middle, old]
    assert store.filters.sorted_ids("oldest", None, 2) == [old, middle]
    assert store.filters.sorted_ids("newest", {old, middle}, 1) == [middle]
    store.annotations.rate([old], 5)
    store.annotations.rate([middle, new], 3)
    assert store.filters.sorted_ids("rating", None, 10) == [old, new, middle, same]
    assert store.filters.sorted_ids("rating", None, 2) == [old, new]
    assert store.filters.sorted_ids("rating", {same, middle}, 10) == [middle, same]
    assert store.filters.sorted_ids("newest", [], 10) == []


def test_a_watched_folder_is_found_by_its_own_name(store: IndexStore, library: Library) -> None:
    there, inside = library.add("a.png"), library.add("june/b.png")
    for value, found in (
        ("pictures/*", {there, inside}),
        ("pictures/june/*", {inside}),
        ("ictures/*", set()),
        ("pic*", set()),
        ("p*b.png", set()),
    ):
        assert set(store.filters.ids([_is("path", value)]) or ()) == found


@pytest.mark.parametrize("key", ["steps", "width", "height", "cfg", "path", "model", "lora"])
def test_a_filter_selects_the_same_alone_and_combined(store: IndexStore, names: dict[int, str], key: str) -> None:
    value = {"path": "landscapes/*", "model": "*", "lora": "*"}.get(key)
    wanted = _is(key, value) if value else _range(key, "1", "1000")
    assert _met(store, names, wanted) == _met(store, names, wanted, _range("width", "1", None))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (_is("embedding", "easy*"), "full"),
        (_is("control", "canny"), "full"),
        (_is("control", "control_v11*"), "full"),
        (_is("vae", "kl"), "full"),
        (_is("refiner", "xl_refiner"), "full"),
        (_is("upscaler", "4x-*"), "full other"),
        (_is("detailer", "face_yolov8n"), "full"),
        (_is("resource", "128078"), "full"),
        (_is("resource", "Some Model"), "full"),
        (_is("resource", "urn:air:*"), "other"),
        (_is("negative", "goose"), "full"),
        (_is("raw_prompt", "__colour__"), "full"),
        (_is("prompt", "girl"), "full"),
        (_is("negative", "hat"), "full"),
        (_range("denoise", "0.3", "0.5"), "full"),
        (_range("guidance", "3", None), "full"),
        (_is("clip_skip", "2"), "full"),
        (_is("embedding", "nobody"), ""),
        (_is("detailer", "*", negate=True), "other bare"),
        (_is("choice", "Hair=bob"), "full"),
        (_is("choice", "hair=BO*"), "full"),
        (_is("choice", "bob"), "full"),
        (_is("choice", "100%_mood=sad"), "full"),
        (_is("choice", "Hair=sad"), ""),
        (_is("choice", "Hair=bob", negate=True), "other bare"),
        *(
            (Filter(key, "has"), "full")
            for key in ("embedding", "control", "vae", "refiner", "detailer", "guidance", "choice")
        ),
        *((Filter(key, "has"), "full") for key in ("denoise", "clip_skip", "negative", "raw_prompt")),
        *((Filter(key, "has"), "full other") for key in ("upscaler", "resource")),
    ],
    ids=str,
)
def test_metadata_in_child_tables_is_found(store: IndexStore, library: Library, wanted: Filter, expected: str) -> None:
    full = library.add(
        "full.png",
        prompt="a duck",
        negative_prompt="a goose",
        raw_prompt="a __colour__ duck",
        vae="kl.safetensors",
        denoise=0.4,
        clip_skip=2,
        guidance=3.5,
        refiner="xl_refiner",
        upscaler="4x-UltraSharp",
        controls=(ControlUse("control_v11p_sd15_canny", "canny"),),
        embeddings=(EmbeddingUse("EasyNegative"),),
        characters=(CharacterPrompt("a girl", "a hat", 0.5, 0.5),),
        resources=(ResourceUse("128078", "checkpoint", "Some Model"),),
        detailers=(DetailerUse("face_yolov8n"),),
        choices=(ChoiceUse("Hair", "bob"), ChoiceUse("100%_mood", "sad")),
    )
    other = library.add(
        "other.png", hires_upscaler="4x-Else", resources=(ResourceUse("urn:air:sdxl:lora:civitai:1@2"),)
    )
    bare = library.add("bare.png")
    store.annotations.tag([full], add=["x"])  # the words are indexed anew, and must be the same
    assert _met(store, {full: "full", other: "other", bare: "bare"}, wanted) == set(expected.split())
