"""A question into a plan: who may appear, and the vectors and words that the rest is measured by."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from indexd.errors import IndexdError, UsageError
from indexd.layers.description import LAYERS
from indexd.search.embedder import Embedder
from indexd.search.find import find_id
from indexd.search.language import parse
from indexd.search.targets import Target, from_text
from indexd.search.terms import TERMS, TermRule, option_of
from indexd.store.fulltext import SEARCHED
from indexd.store.id_set import IdSet
from indexd.store.index import Store
from indexd.store.records import Filter
from indexd.worker.calls import EmbedImages, EmbedText, FindFaces
from indexd_schemas.question import Question, SortOrder, Term


@dataclass(frozen=True, slots=True)
class Probe:
    """A vector (dim,) to compare one layer with; `asked` is the term as the command line has it."""

    label: str
    layer: str
    weight: float
    vector: NDArray[np.float32]
    asked: str = ""


@dataclass(frozen=True, slots=True)
class Words:
    """Words to look up in some columns of the full text; `asked` is the term as the command line has it."""

    label: str
    weight: float
    text: str
    columns: str = SEARCHED
    asked: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What `Search` carries out. `among` None = everybody may appear. `notes` say what could not be used, and why.

    `words_alone` = every term that attracts asks for words, so that a picture which holds them all fits by them.
    """

    probes: tuple[Probe, ...]
    words: tuple[Words, ...]
    among: IdSet | None
    with_missing: bool
    sort: SortOrder
    notes: tuple[str, ...]
    words_alone: bool = False

    @property
    def attracts(self) -> bool:
        """Whether anything is asked for, and not only pushed away."""
        return any(one.weight > 0 for one in self.probes) or any(one.weight > 0 for one in self.words)


@dataclass(slots=True)
class Planner:
    """Makes one plan. A term whose model is off becomes a note; a term that is wrong raises IndexdError."""

    store: Store
    embed: Embedder
    notes: list[str] = field(default_factory=list)
    _labels: dict[str, int] = field(default_factory=dict)

    def plan(self, question: Question) -> Plan:
        """The plan of a question. Raises when there are terms and none of them can be used."""
        filters = parse(question.filters)
        # Filters first: a wrong word must not cost the loading of a model.
        among = self.store.filters.ids(filters) if filters else None
        probes, words = [], []
        for term in question.terms:
            rule = TERMS[term.kind]
            asked = _asked(term, rule)
            if rule.fulltext is not None:
                label = self._label("fulltext" if rule.fulltext == SEARCHED else f"fulltext_{term.kind}")
                words.append(Words(label, term.weight, term.value, rule.fulltext, asked))
            vector = self._face(term, rule) if rule.of == "face" else self._vector(term, rule)
            if vector is not None:
                probes.append(Probe(self._label(rule.layer), rule.layer, term.weight, vector, asked))
        if question.terms and not probes and not words:
            raise IndexdError("this cannot be answered now: " + "; ".join(self.notes))
        sort = question.sort or ("score" if question.terms else "newest")
        return Plan(
            tuple(probes),
            tuple(words),
            among,
            any(_asks_for_missing(one) for one in filters),
            "newest" if sort == "score" and not question.terms else sort,
            tuple(self.notes),
            all(TERMS[term.kind].fulltext is not None for term in question.terms if term.weight > 0),
        )

    def _label(self, layer: str) -> str:
        count = self._labels[layer] = self._labels.get(layer, 0) + 1
        return layer if count == 1 else f"{layer}#{count}"

    def _vector(self, term: Term, rule: TermRule) -> NDArray[np.float32] | None:
        """The vector of a term, or None with a note."""
        target = from_text(term.value) if rule.of == "image" else None
        known, path = self._known_picture(target, rule.layer) if target else (None, None)
        revision = self.store.vectors.active(rule.layer)
        if revision is None:
            self._left_out(term, rule, self._why_nothing(rule))
            return None
        if known is not None:
            return known
        role = LAYERS[rule.layer].role
        call = EmbedImages(role, (path,)) if path is not None else EmbedText(role, (term.value,), rule.as_query)
        try:
            embedded = self.embed(call)
        except IndexdError as error:
            self._left_out(term, rule, str(error))
            return None
        if embedded.problems:
            raise IndexdError(f"{target or term.kind} cannot be embedded: {embedded.problems[0]}")
        if embedded.identity != revision.identity:
            self._left_out(term, rule, f"the model of {role} was changed, and its work is not done yet")
            return None
        return np.ascontiguousarray(embedded.vectors[0], dtype=np.float32)

    def _face(self, term: Term, rule: TermRule) -> NDArray[np.float32] | None:
        """The vector of the largest face in a picture, known or looked for now, or None with a note."""
        target = from_text(term.value)
        revision = self.store.vectors.active(rule.layer)
        if revision is None:
            self._left_out(term, rule, self._why_nothing(rule))
            return None
        image_id = find_id(self.store, target)
        for row in self.store.faces.of_image(image_id) if image_id is not None else ():
            known = self.store.vectors.get(rule.layer, row.id)
            if known is not None:
                return known
        path = self._file(target, image_id)
        try:
            found = self.embed.find_faces(FindFaces((path,)))
        except IndexdError as error:
            self._left_out(term, rule, str(error))
            return None
        if found.problems:
            raise IndexdError(f"{target} cannot be looked at: {found.problems[0]}")
        if found.identity != revision.identity:
            self._left_out(term, rule, "the models of faces were changed, and their work is not done yet")
            return None
        largest = max(found.regions[0], key=lambda one: (one.row is not None, one.width * one.height), default=None)
        if largest is None or largest.row is None:
            raise IndexdError(f"no face was found in {target}; --similar compares whole pictures")
        return np.ascontiguousarray(found.vectors[largest.row], dtype=np.float32)

    def _why_nothing(self, rule: TermRule) -> str:
        return self.embed.off(LAYERS[rule.layer].role) or f"nothing has been computed for {rule.layer} yet"

    def _left_out(self, term: Term, rule: TermRule, reason: str) -> None:
        self.notes.append(f"{option_of(term)} was left out of {rule.layer}: {reason}")

    def _known_picture(self, target: Target, layer: str) -> tuple[NDArray[np.float32] | None, bytes | None]:
        """The stored vector of a picture, or the path from which it can be made."""
        image_id = find_id(self.store, target)
        if image_id is not None:
            vector = self.store.vectors.get(layer, image_id)
            if vector is not None:
                return np.asarray(vector, dtype=np.float32), None
        return None, self._file(target, image_id)

    def _file(self, target: Target, image_id: int | None) -> bytes:
        """A file of a picture that lies on disk now."""
        if target.path is not None and os.path.exists(target.path):
            return target.path
        places = self.store.images.paths([image_id]) if image_id is not None else {}
        if image_id not in places:
            raise UsageError(f"{target}: there is no such picture, neither in the index nor on disk")
        return places[image_id]


def _asked(term: Term, rule: TermRule) -> str:
    value = str(from_text(term.value)) if rule.of in ("image", "face") else " ".join(term.value.split())
    return f"{option_of(term)} {value}"


def _asks_for_missing(condition: Filter) -> bool:
    return condition.key == "missing"
