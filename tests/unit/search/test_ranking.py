"""Ranking quality on data with known neighbours: a narrow cone, clusters of very different size, noisy layers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
from blake3 import blake3
from numpy.typing import NDArray

from indexd.fs.file_stamp import FileStamp
from indexd.image_metadata.model import ImageFacts, ImageMetadata
from indexd.search.query.query_embedder import FakeQueryEmbedder
from indexd.search.ranking.cutoff import DEFAULT_CUTOFF
from indexd.search.search import Search
from indexd.store.records import ScannedFile
from indexd.store.sqlite.store import SqliteStore
from indexd.worker.calls import Embedded, EmbedImages, EmbedText
from indexd_schemas.api.output import SearchResults
from indexd_schemas.api.requests import SearchRequest, SearchTerm

Vectors = NDArray[np.float32]
DIM = 96
PICTURES = 600
SUBJECTS = 20
NOBODYS = 30
CONES = {"clip_h": 0.9, "bge_prompt": 0.6, "clip_l": 0.9, "clip_g": 0.7}
NOISE = {"clip_h": 1.0, "bge_prompt": 1.0, "clip_l": 3.0, "clip_g": 1.0}


def unit(vectors: NDArray[np.floating]) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32)


@dataclass
class World:
    """What the truth is: the subject of each picture, and where subjects lie in each layer.

    The prompts of a third of the pictures name a subject that is not what they look like.
    """

    looks: NDArray[np.int_]
    prompts: NDArray[np.int_]
    layers: dict[str, tuple[Vectors, NDArray[np.floating]]]
    chance: np.random.Generator
    questions: dict[tuple[str, int], Vectors] = field(default_factory=dict)

    def vectors(self, layer: str, subjects: NDArray[np.int_], noise: float = 1.0) -> Vectors:
        """Noisy vectors of subjects: what all share, the subject, and chance, most of it in few directions."""
        cone, centres = self.layers[layer]
        spectrum = 1 / np.sqrt(1 + np.arange(DIM))
        chance = unit(self.chance.normal(size=(len(subjects), DIM)) * spectrum) * noise
        return unit(cone * CONES[layer] + centres[subjects] * 0.45 + chance * 0.45)

    def question(self, layer: str, subject: int) -> Vectors:
        """The vector of a question about a subject, always the same; from SUBJECTS on, no picture has the subject."""
        key = (layer, subject)
        if key not in self.questions:
            self.questions[key] = self.vectors(layer, np.array([subject]))
        return self.questions[key]


def world() -> World:
    chance = np.random.default_rng(11)
    shares = 1 / (2 + np.arange(SUBJECTS))
    looks = chance.choice(SUBJECTS, PICTURES, p=shares / shares.sum())
    prompts = np.where(chance.random(PICTURES) < 1 / 3, chance.integers(0, SUBJECTS, PICTURES), looks)
    layers = {
        name: (unit(chance.normal(size=DIM)), unit(chance.normal(size=(SUBJECTS + NOBODYS, DIM)))) for name in CONES
    }
    return World(looks, prompts, layers, chance)


@dataclass
class Asker:
    """Questions to a real index of the world; a word is `layer/subject` and answers with a vector of that subject."""

    search: Search
    world: World
    ids: list[int]

    def ask(self, *terms: SearchTerm, limit: int = 150, everything: bool = True) -> SearchResults:
        return self.search.query(SearchRequest(terms=terms, limit=limit, everything=everything))

    def order(self, *terms: SearchTerm) -> NDArray[np.int_]:
        """Places of the pictures in the world, best first."""
        places = {image_id: place for place, image_id in enumerate(self.ids)}
        return np.array([places[hit.image.id] for hit in self.ask(*terms).hits])


@pytest.fixture(scope="module")
def asker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asker]:
    truth = world()
    with SqliteStore.open(tmp_path_factory.mktemp("world") / "index.db") as store:
        root = store.roots.ensure(os.fsencode(tmp_path_factory.mktemp("pictures")), "images").id
        sightings = [
            ScannedFile(
                root,
                f"p{place}p.png".encode(),
                FileStamp(1, 1, place + 1),
                ImageFacts(blake3(b"%d" % place).digest(), 1, "PNG", 64, 64, 1, ImageMetadata(prompt=f"p{place}")),
            )
            for place in range(PICTURES)
        ]
        ids = [one.image_id or 0 for one in store.images.ingest(sightings, 1_760_000_000.0)]
        for layer in CONES:
            subjects = truth.looks if layer == "clip_h" else truth.prompts
            revision = store.vectors.activate(layer, "toy", DIM, "image" if layer == "clip_h" else "prompt")
            store.vectors.put(layer, revision, ids, truth.vectors(layer, subjects, NOISE[layer]))

        def answer(call: EmbedText | EmbedImages) -> Embedded:
            assert isinstance(call, EmbedText)
            layer = "bge_prompt" if call.role == "bge" else call.role
            return Embedded(truth.question(layer, int(call.texts[0])), "toy")

        yield Asker(Search(store, FakeQueryEmbedder(answer)), truth, ids)


def term(kind: str, value: object, weight: float = 1.0) -> SearchTerm:
    return SearchTerm.model_validate({"kind": kind, "value": str(value), "weight": weight})


def average_precision(order: NDArray[np.int_], relevant: NDArray[np.bool_]) -> float:
    hits = relevant[order]
    precision = np.cumsum(hits) / np.arange(1, len(order) + 1)
    return float(precision[hits].sum() / min(relevant.sum(), len(order)))


def relevant_to(truth: World, subject: int) -> NDArray[np.bool_]:
    """What looks like the subject and was prompted with it."""
    both: NDArray[np.bool_] = (truth.looks == subject) & (truth.prompts == subject)
    return both


def quality(asker: Asker, *kinds: str) -> float:
    """Mean average precision over the subjects."""
    return float(
        np.mean(
            [
                average_precision(asker.order(*(term(kind, one) for kind in kinds)), relevant_to(asker.world, one))
                for one in range(SUBJECTS)
            ]
        )
    )


def test_fused_layers_rank_better_than_each_layer_alone(asker: Asker) -> None:
    fused = quality(asker, "text", "prompt")
    assert fused > quality(asker, "text") + 0.1
    assert fused > quality(asker, "prompt") + 0.1


def test_calibrated_scores_fuse_better_than_cosines(asker: Asker) -> None:
    # The noisy layer has the widest spread of cosines, so in a plain sum it drowns the others.
    places = {image_id: place for place, image_id in enumerate(asker.ids)}
    plain = []
    for subject in range(SUBJECTS):
        total = np.zeros(PICTURES)
        for kind in ("text", "style"):
            for hit in asker.ask(term(kind, subject), limit=PICTURES).hits:
                total[places[hit.image.id]] += next(iter(hit.scores.values()))
        plain.append(average_precision(np.argsort(-total)[:150], relevant_to(asker.world, subject)))
    assert quality(asker, "text", "style") > np.mean(plain) + 0.05


def test_a_greater_weight_increases_the_influence_of_its_term(asker: Asker) -> None:
    first, second = 0, 1
    shares = []
    for weight in (0.25, 0.5, 1.0, 2.0, 4.0):
        order = asker.order(term("text", first, weight), term("text", second))[:20]
        shares.append(float((asker.world.looks[order] == first).mean()))
    assert shares == sorted(shares)
    assert shares[0] < 0.2
    assert shares[-1] > 0.8


def test_a_negative_prompt_term_excludes_that_prompt_and_keeps_similar_images(asker: Asker) -> None:
    truth, shares, usual = asker.world, [], []
    for subject in range(6):
        alike = asker.order(term("text", subject))[:10]
        other = asker.order(term("text", subject), term("prompt", subject, -0.7))[:10]
        usual.append((truth.prompts[alike] == subject).mean())
        shares.append((truth.prompts[other] == subject).mean())
        assert (truth.looks[other] == subject).mean() >= 0.7
    assert np.mean(usual) > 0.5
    assert np.mean(shares) < 0.1


def shown_right(asker: Asker, subject: int, answer: SearchResults, kinds: tuple[str, ...]) -> tuple[int, int, int]:
    """Of the best twenty for a subject: how many are shown and right, are shown, and could have been right."""
    truth = asker.world
    right = np.ones(PICTURES, bool)
    if "text" in kinds:
        right &= truth.looks == subject
    if kinds != ("text",):
        right &= truth.prompts == subject
    places = {image_id: place for place, image_id in enumerate(asker.ids)}
    return sum(right[places[hit.image.id]] for hit in answer.hits), len(answer.hits), min(20, int(right.sum()))


@pytest.mark.parametrize(
    ("kinds", "precision"),
    # What looks like the subject and was prompted otherwise fits a question about both by half.
    [(("text",), 0.9), (("text", "prompt"), 0.65), (("prompt", "style", "composition"), 0.9)],
)
def test_matches_pass_the_default_cutoff_and_others_do_not(
    asker: Asker, kinds: tuple[str, ...], precision: float
) -> None:
    def answers(first: int, last: int, min_score: float | None = None) -> list[SearchResults]:
        questions = (tuple(term(kind, subject) for kind in kinds) for subject in range(first, last))
        return [asker.search.query(SearchRequest(terms=terms, limit=20, min_score=min_score)) for terms in questions]

    nobodys = (SUBJECTS, SUBJECTS + NOBODYS)
    known, unknown = answers(0, SUBJECTS), answers(*nobodys)
    assert {answer.cutoff for answer in (*known, *unknown)} == {DEFAULT_CUTOFF}
    # Every question about what is there is answered, with nearly nothing but what is right, and with most of that.
    assert all(answer.hits for answer in known)
    told = [shown_right(asker, subject, answer, kinds) for subject, answer in enumerate(known)]
    right, shown, possible = (sum(column) for column in zip(*told, strict=True))
    assert right / shown > precision
    assert right / possible > 0.75
    # Of what fits nothing at all, at most a tenth of the twenty nearest stand out by chance, and never half of them.
    assert np.mean([len(answer.hits) for answer in unknown]) < 0.1 * 20
    assert max(len(answer.hits) for answer in unknown) < 10
    # Who would rather be told nothing than something wrong asks for 3.
    assert np.mean([not answer.hits for answer in answers(*nobodys, min_score=3.0)]) > 0.75
    assert np.mean([len(answer.hits) > 0 for answer in answers(0, SUBJECTS, min_score=3.0)]) >= 0.9
    silent = next(answer for answer in unknown if not answer.hits)
    assert silent.cut_off_count == 20
    assert silent.notes[0].startswith("nothing matches: the best score is")
