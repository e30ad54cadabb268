"""Searches over a real index with a toy model of known similarities."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from indexd.errors import IndexdError, ModelUnavailable, UsageError
from indexd.image_metadata.model import ImageMetadata
from indexd.search.query.image_target import ImageTarget, format_target, target_of_path
from indexd.search.query.query_embedder import FakeQueryEmbedder
from indexd.search.ranking.background_samples import MIN_CACHED_SIZE
from indexd.search.search import Search
from indexd.store.records import RootRow
from indexd.store.sqlite.store import SqliteStore
from indexd.worker.calls import Embedded, EmbedImages, EmbedText
from indexd_schemas.api.output import SearchResults
from indexd_schemas.api.requests import SearchRequest, SearchTerm
from tests.support.sample_library import DIM, SUBJECTS, SampleLibrary, make_library, normalize, subject_vector
from tests.unit.store.sample_rows import Library


def toy(call: EmbedText | EmbedImages) -> Embedded:
    """Every subject that is named pulls the vector its way; a picture is told by its file name."""
    named = call.texts[0] if isinstance(call, EmbedText) else os.fsdecode(call.paths[0])
    vector = sum((subject_vector(subject) for subject in SUBJECTS if subject in named), np.zeros(DIM))
    return Embedded(normalize(vector + 0.01)[None, :], "toy")


@pytest.fixture
def library(tmp_path: Path) -> Iterator[SampleLibrary]:
    with SqliteStore.open(tmp_path / "index.db") as store:
        yield make_library(store, tmp_path / "pictures")


@pytest.fixture
def embed() -> FakeQueryEmbedder:
    return FakeQueryEmbedder(toy)


@pytest.fixture
def search(library: SampleLibrary, embed: FakeQueryEmbedder) -> Search:
    return Search(library.store, embed)


def term(kind: str, value: str, weight: float = 1.0) -> SearchTerm:
    return SearchTerm.model_validate({"kind": kind, "value": value, "weight": weight})


def names(answer: SearchResults) -> list[str]:
    return [Path(hit.image.path or "").name for hit in answer.hits]


def subjects(answer: SearchResults) -> list[str]:
    return [name.partition("-")[0] for name in names(answer)]


def test_similar_finds_the_image_itself_first_and_then_similar_ones(
    search: Search, library: SampleLibrary, embed: FakeQueryEmbedder
) -> None:
    path = library.path("cats/cat-2.png")
    answer = search.query(SearchRequest(terms=(term("similar", format_target(target_of_path(path))),), limit=6))
    assert answer.hits[0].image.path == path
    assert answer.hits[0].scores["clip_h"] == pytest.approx(1.0, abs=1e-3)
    assert subjects(answer)[:5] == ["cat"] * 5
    assert subjects(answer)[5] != "cat"
    assert [hit.rank for hit in answer.hits] == [1, 2, 3, 4, 5, 6]
    scores = [hit.score for hit in answer.hits]
    assert scores == sorted(scores, reverse=True)  # type: ignore[type-var]
    assert scores[4] > 1 > scores[5]  # type: ignore[operator]
    assert embed.calls == []


def test_similar_by_id_by_hash_and_by_a_copy_needs_no_model(
    search: Search, library: SampleLibrary, embed: FakeQueryEmbedder, tmp_path: Path
) -> None:
    image_id = library.ids["dogs/dog-0.png"]
    copy = tmp_path / "copy of a picture.png"
    copy.write_bytes((library.root / "dogs/dog-0.png").read_bytes())
    row = library.store.images.get(image_id)
    assert row is not None
    for target in (ImageTarget(image_id=image_id), ImageTarget(content_hash=row.content_hash), target_of_path(copy)):
        answer = search.query(SearchRequest(terms=(term("similar", format_target(target)),), limit=1))
        assert answer.hits[0].image.id == image_id
    assert embed.calls == []


def test_similar_to_a_foreign_image_embeds_it(search: Search, embed: FakeQueryEmbedder, tmp_path: Path) -> None:
    foreign = tmp_path / "house by somebody.png"
    foreign.write_bytes(b"some other bytes")
    answer = search.query(SearchRequest(terms=(term("similar", format_target(target_of_path(foreign))),), limit=5))
    assert subjects(answer) == ["house"] * 5
    assert embed.calls == [EmbedImages("clip_h", (os.fsencode(foreign),))]


def test_similar_to_an_unknown_target_is_an_error(search: Search, tmp_path: Path) -> None:
    for target in (ImageTarget(image_id=999), target_of_path(tmp_path / "gone.png")):
        with pytest.raises(IndexdError, match="no such image"):
            search.query(SearchRequest(terms=(term("similar", format_target(target)),)))


def test_a_text_is_compared_with_images_and_with_prompts(search: Search, embed: FakeQueryEmbedder) -> None:
    look = search.query(SearchRequest(terms=(term("text", "the sea at night"),), limit=5))
    assert subjects(look) == ["sea"] * 5
    assert set(look.hits[0].scores) == {"clip_h"}
    prompt = search.query(SearchRequest(terms=(term("prompt", "dog"),), limit=5))
    assert subjects(prompt) == ["dog"] * 5
    assert set(prompt.hits[0].scores) == {"bge_prompt", "fulltext"}
    assert embed.calls == [
        EmbedText("clip_h", ("the sea at night",), as_query=True),
        EmbedText("bge", ("dog",), as_query=True),
    ]


def test_the_full_text_ranks_exact_words_higher(search: Search) -> None:
    answer = search.query(SearchRequest(terms=(term("prompt", '"dog number 3"'),), limit=5))
    assert names(answer)[0] == "dog-3.png"


def test_two_terms_require_both(search: Search) -> None:
    answer = search.query(SearchRequest(terms=(term("text", "cat"), term("prompt", "cat")), limit=20))
    assert subjects(answer)[:5] == ["cat"] * 5
    mixed = search.query(SearchRequest(terms=(term("text", "cat"), term("text", "dog")), limit=10))
    assert set(subjects(mixed)) == {"cat", "dog"}
    assert set(mixed.hits[0].scores) == {"clip_h", "clip_h#2"}


def test_a_negative_weight_lowers_similar_images(search: Search) -> None:
    answer = search.query(SearchRequest(terms=(term("text", "cat dog"), term("text", "dog", -1.0)), limit=5))
    assert subjects(answer) == ["cat"] * 5
    least = search.query(SearchRequest(terms=(term("text", "cat", -1.0),), limit=15))
    assert "cat" not in subjects(least)


def test_filters_restrict_the_hits(search: Search) -> None:
    answer = search.query(SearchRequest(terms=(term("text", "cat"),), filters=("model:juggernaut steps:30..40",)))
    assert answer.candidate_count == len(answer.hits) == 4
    assert set(subjects(answer)) == {"house", "sea"}
    assert search.query(SearchRequest(filters=("lora:my lora", "-model:pony*"))).candidate_count == 2
    assert names(search.query(SearchRequest(filters=("seed:18446744073709551615",)))) == ["sea-0.png"]
    assert search.query(SearchRequest(filters=("size:64x64",))).candidate_count == 20
    assert search.query(SearchRequest(filters=("size:64x65",))).hits == []
    assert search.query(SearchRequest(filters=("model:nobody",), terms=(term("text", "cat"),))).hits == []


def test_without_terms_the_newest_images_come_first_and_can_be_sorted(search: Search, library: SampleLibrary) -> None:
    assert {name[-5] for name in names(search.query(SearchRequest(limit=4)))} == {"4"}
    assert {name[-5] for name in names(search.query(SearchRequest(limit=4, sort="oldest")))} == {"0"}
    library.store.annotations.rate([library.ids["seas/sea-1.png"]], 5)
    assert names(search.query(SearchRequest(limit=1, sort="rating"))) == ["sea-1.png"]
    assert search.query(SearchRequest(limit=1)).hits[0].score is None


def test_the_best_hits_can_be_sorted_by_another_key(search: Search) -> None:
    answer = search.query(SearchRequest(terms=(term("text", "cat"),), limit=5, sort="oldest"))
    assert names(answer) == [f"cat-{number}.png" for number in range(5)]


def test_missing_images_are_found_only_on_request(search: Search, library: SampleLibrary) -> None:
    library.store.files.mark_missing(library.root_id, [b"cats/cat-0.png"], 1.0)
    question = SearchRequest(terms=(term("text", "cat"),), limit=5)
    assert "cat-0.png" not in names(search.query(question))
    assert len(search.query(question).hits) == 5
    gone = search.query(SearchRequest(filters=("missing:yes",)))
    assert [hit.image.id for hit in gone.hits] == [library.ids["cats/cat-0.png"]]
    assert gone.hits[0].image.path is None
    assert gone.hits[0].image.last_path == library.path("cats/cat-0.png")
    assert gone.hits[0].image.missing_since == 1.0
    library.store.files.mark_missing(library.root_id, [os.fsencode(f"cats/cat-{n}.png") for n in range(1, 5)], 1.0)
    assert len(search.query(SearchRequest(limit=15)).hits) == 15


def test_an_overwritten_image_is_shown_where_it_lay(search: Search, library: SampleLibrary) -> None:
    place = Library(library.store, RootRow(library.root_id, b"", "images"))
    old = place.add("output.png", "the first image", prompt="a heron")
    place.add("output.png", "another image", prompt="a crane")
    (hit,) = search.query(SearchRequest(filters=("missing:yes",))).hits
    assert (hit.image.id, hit.image.path, hit.image.is_overwritten) == (old, None, True)
    assert (hit.image.last_path, hit.image.missing_since) == (library.path("output.png"), 1_700_000_000.0)


def test_hits_show_the_words_that_were_found(search: Search, library: SampleLibrary) -> None:
    library.store.annotations.tag([library.ids["cats/cat-0.png"]], add=["night/白い猫"])
    request = SearchRequest(
        terms=(term("prompt", "cat"), term("prompt", '"白い猫"')), filters=("negative:blur*",), limit=1
    )
    (hit,) = search.query(request).hits
    assert hit.image.id == library.ids["cats/cat-0.png"]
    found = [(one.term, one.column, [one.text[start:end] for start, end in one.spans]) for one in hit.matches]
    assert found == [
        ("--prompt cat", "prompt", ["cat"]),
        ("--prompt cat", "file_name", ["cat"]),
        ('--prompt "白い猫"', "tags", ["白い猫"]),
        ("negative:blur*", "negative", ["blur"]),
    ]


def test_a_match_far_inside_a_text_is_shown_in_an_excerpt(search: Search, library: SampleLibrary) -> None:
    image_id = library.ids["cats/cat-0.png"]
    library.store.images.update_metadata(
        {image_id: ImageMetadata(prompt=f"{'fog, ' * 100}a wren and a wren{', fog' * 90}")}, {}
    )
    (hit,) = search.query(SearchRequest(filters=("prompt:wren",))).hits
    (match,) = hit.matches
    assert (match.start, match.text[:8], len(match.text)) == (462, "g, fog, ", 160)
    assert [match.text[start:end] for start, end in match.spans] == ["wren", "wren"]


def test_an_excluded_word_is_not_shown(search: Search) -> None:
    answer = search.query(SearchRequest(terms=(term("prompt", "dog", -1.0),), filters=("-prompt:house",), limit=3))
    assert [hit.matches for hit in answer.hits] == [[], [], []]


def test_a_disabled_model_is_a_note_when_another_layer_has_results(library: SampleLibrary) -> None:
    def off(call: EmbedText | EmbedImages) -> Embedded:
        raise ModelUnavailable(call.role, "no model is set")

    search = Search(library.store, FakeQueryEmbedder(off))
    answer = search.query(SearchRequest(terms=(term("prompt", "dog"),)))
    assert set(subjects(answer)) == {"dog"}
    assert set(answer.hits[0].scores) == {"fulltext"}
    assert answer.notes == ["--prompt does not search bge_prompt: bge is off, because no model is set"]
    with pytest.raises(IndexdError, match="clip_h is off, because no model is set"):
        search.query(SearchRequest(terms=(term("text", "dog"),)))


def test_vectors_of_another_model_are_never_compared(library: SampleLibrary) -> None:
    def changed(call: EmbedText | EmbedImages) -> Embedded:
        return Embedded(toy(call).vectors, "another revision")

    search = Search(library.store, FakeQueryEmbedder(changed))
    answer = search.query(SearchRequest(terms=(term("prompt", "dog"),)))
    assert set(answer.hits[0].scores) == {"fulltext"}
    assert "changed" in answer.notes[0]


def test_a_layer_without_vectors_loads_no_model(tmp_path: Path, embed: FakeQueryEmbedder) -> None:
    with SqliteStore.open(tmp_path / "index.db") as store:
        with pytest.raises(IndexdError, match="nothing has been computed for clip_h yet"):
            Search(store, embed).query(SearchRequest(terms=(term("text", "cat"),)))
        assert Search(store, embed).query(SearchRequest()).hits == []
    assert embed.calls == []


def test_an_invalid_filter_loads_no_model(search: Search, embed: FakeQueryEmbedder) -> None:
    with pytest.raises(UsageError, match="did you mean steps"):
        search.query(SearchRequest(terms=(term("text", "cat"),), filters=("stepz:3",)))
    assert embed.calls == []


def test_an_image_that_cannot_be_embedded_is_an_error(library: SampleLibrary, tmp_path: Path) -> None:
    def broken(call: EmbedText | EmbedImages) -> Embedded:
        return Embedded(np.full((1, DIM), np.nan, dtype=np.float32), "toy", {0: "the file is cut off"})

    foreign = tmp_path / "x.png"
    foreign.write_bytes(b"x")
    with pytest.raises(IndexdError, match=r"x\.png cannot be embedded: the file is cut off"):
        Search(library.store, FakeQueryEmbedder(broken)).query(
            SearchRequest(terms=(term("similar", format_target(target_of_path(foreign))),))
        )


def test_an_image_without_a_vector_has_an_average_score(search: Search, library: SampleLibrary) -> None:
    from indexd.image_metadata.model import ImageMetadata

    library.add("new.png", ImageMetadata(prompt="a cat, unheard of"))
    answer = search.query(SearchRequest(terms=(term("prompt", "cat unheard"), term("text", "sea")), limit=30))
    new = next(hit for hit in answer.hits if (hit.image.path or "").endswith("new.png"))
    assert "clip_h" not in new.scores
    assert new.scores["fulltext"] > 0


def test_a_common_word_counts_little_even_with_limited_hits(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexd.search.search.FULLTEXT_HITS", 3)
    answer = search.query(SearchRequest(terms=(term("prompt", "oil"),), limit=3))
    assert all(abs(hit.score or 0) < 1.5 for hit in answer.hits)


def test_the_calibration_sample_of_a_large_library_is_read_once(
    library: SampleLibrary, embed: FakeQueryEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    real = library.store.vectors.sample

    def sample(layer: str, n: int) -> np.ndarray:
        reads.append(layer)
        return np.repeat(real(layer, n), MIN_CACHED_SIZE, axis=0)

    monkeypatch.setattr(library.store.vectors, "sample", sample)
    now = [0.0]
    search = Search(library.store, embed, clock=lambda: now[0])
    for _ in range(3):
        search.query(SearchRequest(terms=(term("text", "cat"),)))
    assert reads == ["clip_h"]
    now[0] = 1000.0
    search.query(SearchRequest(terms=(term("text", "cat"),)))
    assert reads == ["clip_h", "clip_h"]


@pytest.fixture
def prompted(library: SampleLibrary) -> SampleLibrary:
    """The library with the other prompt layers; the dogs' negative prompts are about cats."""
    subject_of = {name: name.partition("s/")[0] for name in library.ids}
    for layer in ("clip_l", "clip_g"):
        library.embed(layer, {name: subject_vector(subject) for name, subject in subject_of.items()}, of="prompt")
    negative = {name: subject_vector("cat" if subject == "dog" else "sea") for name, subject in subject_of.items()}
    library.embed("bge_negative", negative, of="negative_prompt")
    return library


@pytest.mark.parametrize(
    ("kind", "role", "subject", "scores", "as_query"),
    [
        ("negative_prompt", "bge", "dog", {"bge_negative"}, True),
        ("style", "clip_l", "cat", {"clip_l"}, False),
        ("composition", "clip_g", "cat", {"clip_g"}, False),
    ],
)
def test_every_prompt_layer_can_be_searched(
    search: Search,
    prompted: SampleLibrary,
    embed: FakeQueryEmbedder,
    kind: str,
    role: str,
    subject: str,
    scores: set[str],
    as_query: bool,
) -> None:
    answer = search.query(SearchRequest(terms=(term(kind, "cat"),), limit=5))
    assert subjects(answer) == [subject] * 5
    assert set(answer.hits[0].scores) == scores
    assert embed.calls == [EmbedText(role, ("cat",), as_query=as_query)]


def test_negative_prompts_are_searched_only_in_their_own_texts(search: Search, library: SampleLibrary) -> None:
    from indexd.image_metadata.model import ImageMetadata

    library.add("odd.png", ImageMetadata(prompt="fine art", negative_prompt="extra fingers"))
    library.add("fingers.png", ImageMetadata(prompt="extra fingers on purpose", negative_prompt="blurry"))
    answer = search.query(SearchRequest(terms=(term("negative_prompt", "extra fingers"),)))
    assert names(answer) == ["odd.png"]
    assert answer.hits[0].scores["fulltext_negative_prompt"] > 0
    assert answer.notes[0].startswith("--negative-prompt does not search bge_negative: ")
    assert names(search.query(SearchRequest(terms=(term("prompt", "extra fingers"),))))[0] == "fingers.png"


def test_notes_name_the_given_option(search: Search) -> None:
    answer = search.query(SearchRequest(terms=(term("text", "cat"), term("style", "cat"), term("style", "dog", -1.0))))
    assert [note.partition(" does")[0] for note in answer.notes] == ["--style", "--not-style"]
    unlike = search.query(SearchRequest(terms=(term("prompt", "cat"), term("prompt", "dog", -1.0)), explain=True))
    assert {part.term for part in unlike.hits[0].parts or ()} == {"--prompt cat", "--unlike-prompt dog"}


def test_weights_decide_between_two_images(search: Search, library: SampleLibrary) -> None:
    def first(cat: float, dog: float) -> str:
        terms = [
            term("similar", format_target(target_of_path(library.path(f"{subject}s/{subject}-0.png"))), weight)
            for subject, weight in (("cat", cat), ("dog", dog))
        ]
        return subjects(search.query(SearchRequest(terms=tuple(terms), limit=1)))[0]

    assert (first(2.0, 1.0), first(1.0, 2.0), first(1.0, -1.0), first(-1.0, 1.0)) == ("cat", "dog", "cat", "dog")


def test_explain_lists_the_origin_of_each_score(search: Search) -> None:
    question = SearchRequest(terms=(term("prompt", "dog", 2.0), term("text", "cat", -0.5)), limit=3)
    assert search.query(question).hits[0].parts is None
    hit = search.query(question.model_copy(update={"explain": True})).hits[0]
    parts = {part.layer: part for part in hit.parts or ()}
    assert {layer: part.weight for layer, part in parts.items()} == {"bge_prompt": 2.0, "clip_h": -0.5, "fulltext": 2.0}
    assert {layer: part.raw for layer, part in parts.items()} == hit.scores
    assert parts["clip_h"].term == "--not-text cat"
    total = sum(part.weight * part.z for part in parts.values())
    length = sum(part.weight**2 for part in parts.values()) ** 0.5
    assert hit.score is not None
    assert 0 < hit.score <= total / length + 1e-3


@pytest.fixture
def large(tmp_path: Path) -> Iterator[SampleLibrary]:
    """Enough pictures for a default cut-off, a quarter of them of each subject."""
    with SqliteStore.open(tmp_path / "large.db") as store:
        yield make_library(store, tmp_path / "large", images_per_subject=30)


def test_hits_below_the_cutoff_are_left_out(large: SampleLibrary, embed: FakeQueryEmbedder) -> None:
    search = Search(large.store, embed)
    cats = search.query(SearchRequest(terms=(term("text", "cat"),), limit=100))
    assert subjects(cats) == ["cat"] * 30
    assert (cats.cutoff, cats.cut_off_count) == (2.5, 70)
    assert cats.notes == ["70 of the best 100 score below the cut-off of +2.5 and are left out; --all shows them"]
    nothing = search.query(SearchRequest(terms=(term("text", "a bicycle"),)))
    assert (nothing.hits, nothing.cut_off_count) == ([], 20)
    assert nothing.notes[0].startswith("nothing matches: the best score is ")
    everything = search.query(SearchRequest(terms=(term("text", "a bicycle"),), everything=True))
    assert (len(everything.hits), everything.cutoff, everything.notes) == (20, None, [])
    low = search.query(SearchRequest(terms=(term("text", "cat"),), limit=100, min_score=-1000.0))
    assert (len(low.hits), low.cutoff) == (100, -1000.0)
    few = search.query(SearchRequest(terms=(term("text", "a bicycle"),), filters=("steps:20",)))
    assert (len(few.hits), few.cutoff) == (4, None)


def test_images_with_the_words_pass_the_cutoff(large: SampleLibrary) -> None:
    def off(call: EmbedText | EmbedImages) -> Embedded:
        raise ModelUnavailable(call.role, "no model is set")

    search = Search(large.store, FakeQueryEmbedder(off))
    answer = search.query(SearchRequest(terms=(term("prompt", "oil painting"),)))
    assert len(answer.hits) == 20
    assert max(hit.score or 0 for hit in answer.hits) < 1


def test_a_negative_weight_lifts_no_image_over_the_cutoff(large: SampleLibrary, embed: FakeQueryEmbedder) -> None:
    search = Search(large.store, embed)
    cats = search.query(SearchRequest(terms=(term("text", "cat"), term("prompt", "dog", -5.0)), limit=100))
    assert set(subjects(cats)) == {"cat"}
    away = search.query(SearchRequest(terms=(term("text", "cat", -1.0),), limit=90))
    assert (set(subjects(away)), away.cutoff) == ({"dog", "house", "sea"}, None)


@pytest.mark.skipif(sys.platform == "win32", reason="Wine shows links as folders")
def test_a_link_named_by_the_user_is_followed(
    search: Search, library: SampleLibrary, embed: FakeQueryEmbedder, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "cat-elsewhere.png"
    elsewhere.write_bytes(b"another picture of a cat")
    link = tmp_path / "link.png"
    link.symlink_to(elsewhere)
    answer = search.query(SearchRequest(terms=(term("similar", format_target(target_of_path(link))),), limit=1))
    assert subjects(answer) == ["cat"]
    (call,) = (call for call in embed.calls if isinstance(call, EmbedImages))
    assert call.paths == (os.fsencode(elsewhere),)
