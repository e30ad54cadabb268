"""Turns a search request into a plan: the images that the filters allow, and the terms that rank them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from indexd.errors import IndexdError, UsageError
from indexd.indexing.stages import LAYERS
from indexd.search.query.filter_language import parse_filters
from indexd.search.query.image_lookup import find_image_id
from indexd.search.query.image_target import ImageTarget, parse_target
from indexd.search.query.query_embedder import QueryEmbedder
from indexd.search.query.term_rules import TERM_RULES, TermRule, cli_option
from indexd.search.text_matches import SoughtWords, words_of_filters
from indexd.store.id_set import IdSet
from indexd.store.protocols import IndexStore
from indexd.store.records import SEARCHED_COLUMNS, Filter, TextColumn
from indexd.text_tokens import parse_query
from indexd.worker.calls import EmbedImages, EmbedText, FindFaces
from indexd_schemas.api.requests import SearchRequest, SearchTerm, SortOrder


@dataclass(frozen=True, slots=True)
class VectorTerm:
    """A vector (dim,) to compare with one layer; `cli_text` is the term as on the command line."""

    label: str
    layer: str
    weight: float
    vector: NDArray[np.float32]
    cli_text: str = ""


@dataclass(frozen=True, slots=True)
class TextTerm:
    """Text to search in these full-text columns; `cli_text` is the term as on the command line."""

    label: str
    weight: float
    text: str
    columns: tuple[TextColumn, ...] = SEARCHED_COLUMNS
    cli_text: str = ""


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """The plan that `Search` runs. `allowed_ids` None = all images. `notes` name the terms that could not be used.

    `text_terms_only`: every positive term also searches the full text, so an image that has all texts matches.
    `sought_words`: the words that hits show.
    """

    vector_terms: tuple[VectorTerm, ...]
    text_terms: tuple[TextTerm, ...]
    allowed_ids: IdSet | None
    include_missing: bool
    sort: SortOrder
    notes: tuple[str, ...]
    text_terms_only: bool = False
    sought_words: tuple[SoughtWords, ...] = ()

    @property
    def has_positive_terms(self) -> bool:
        return any(one.weight > 0 for one in self.vector_terms) or any(one.weight > 0 for one in self.text_terms)


@dataclass(slots=True)
class SearchPlanner:
    """Builds one plan. A term whose model is off becomes a note; an invalid term raises IndexdError."""

    store: IndexStore
    embedder: QueryEmbedder
    notes: list[str] = field(default_factory=list)
    _label_counts: dict[str, int] = field(default_factory=dict)

    def plan(self, request: SearchRequest) -> SearchPlan:
        """Build the plan of a request. Raises IndexdError when there are terms and none can be used."""
        filters = parse_filters(request.filters)
        # Filters first: an invalid filter must not load a model.
        allowed_ids = self.store.filters.ids(filters) if filters else None
        vector_terms, text_terms = [], []
        for term in request.terms:
            rule = TERM_RULES[term.kind]
            cli_text = _cli_text(term, rule)
            if rule.fulltext_columns is not None:
                label = self._unique_label(
                    "fulltext" if rule.fulltext_columns == SEARCHED_COLUMNS else f"fulltext_{term.kind}"
                )
                text_terms.append(TextTerm(label, term.weight, term.value, rule.fulltext_columns, cli_text))
            vector = self._face_vector_of(term, rule) if rule.value_kind == "face" else self._vector_of(term, rule)
            if vector is not None:
                vector_terms.append(
                    VectorTerm(self._unique_label(rule.layer), rule.layer, term.weight, vector, cli_text)
                )
        if request.terms and not vector_terms and not text_terms:
            raise IndexdError("this search cannot run now: " + "; ".join(self.notes))
        sort = request.sort or ("score" if request.terms else "newest")
        return SearchPlan(
            tuple(vector_terms),
            tuple(text_terms),
            allowed_ids,
            any(_is_missing_filter(one) for one in filters),
            "newest" if sort == "score" and not request.terms else sort,
            tuple(self.notes),
            all(TERM_RULES[term.kind].fulltext_columns is not None for term in request.terms if term.weight > 0),
            (
                *(
                    SoughtWords(one.cli_text, tuple(parse_query(one.text)), one.columns)
                    for one in text_terms
                    if one.weight > 0
                ),
                *words_of_filters(filters),
            ),
        )

    def _unique_label(self, layer: str) -> str:
        count = self._label_counts[layer] = self._label_counts.get(layer, 0) + 1
        return layer if count == 1 else f"{layer}#{count}"

    def _vector_of(self, term: SearchTerm, rule: TermRule) -> NDArray[np.float32] | None:
        """The vector of a term; None and a note when the model is not available."""
        target = parse_target(term.value) if rule.value_kind == "image" else None
        stored, path = self._stored_vector_or_path(target, rule.layer) if target else (None, None)
        revision = self.store.vectors.active_revision(rule.layer)
        if revision is None:
            self._note_left_out(term, rule, self._unavailable_reason(rule))
            return None
        if stored is not None:
            return stored
        role = LAYERS[rule.layer].role
        # Symbolic links are resolved here, because the worker opens regular files only.
        call = (
            EmbedImages(role, (os.path.realpath(path),))
            if path is not None
            else EmbedText(role, (term.value,), rule.as_query)
        )
        try:
            embedded = self.embedder(call)
        except IndexdError as error:
            self._note_left_out(term, rule, str(error))
            return None
        if embedded.problems:
            raise IndexdError(f"{target or term.kind} cannot be embedded: {embedded.problems[0]}")
        if embedded.identity != revision.identity:
            self._note_left_out(term, rule, f"the model of {role} was changed, and its index tasks are not done yet")
            return None
        return np.ascontiguousarray(embedded.vectors[0], dtype=np.float32)

    def _face_vector_of(self, term: SearchTerm, rule: TermRule) -> NDArray[np.float32] | None:
        """The vector of the largest face in an image, stored or detected now; None and a note when the model is off."""
        target = parse_target(term.value)
        revision = self.store.vectors.active_revision(rule.layer)
        if revision is None:
            self._note_left_out(term, rule, self._unavailable_reason(rule))
            return None
        image_id = find_image_id(self.store, target)
        for row in self.store.faces.of_image(image_id) if image_id is not None else ():
            stored = self.store.vectors.get(rule.layer, row.id)
            if stored is not None:
                return stored
        path = self._path_on_disk(target, image_id)
        try:
            found = self.embedder.find_faces(FindFaces((path,)))
        except IndexdError as error:
            self._note_left_out(term, rule, str(error))
            return None
        if found.problems:
            raise IndexdError(f"no faces can be detected in {target}: {found.problems[0]}")
        if found.identity != revision.identity:
            self._note_left_out(term, rule, "the face models were changed, and their index tasks are not done yet")
            return None
        largest = max(found.regions[0], key=lambda one: (one.row is not None, one.width * one.height), default=None)
        if largest is None or largest.row is None:
            raise IndexdError(f"no face was found in {target}; --similar compares whole images")
        return np.ascontiguousarray(found.vectors[largest.row], dtype=np.float32)

    def _unavailable_reason(self, rule: TermRule) -> str:
        return (
            self.embedder.unavailable_reason(LAYERS[rule.layer].role)
            or f"nothing has been computed for {rule.layer} yet"
        )

    def _note_left_out(self, term: SearchTerm, rule: TermRule, reason: str) -> None:
        self.notes.append(f"{cli_option(term)} does not search {rule.layer}: {reason}")

    def _stored_vector_or_path(
        self, target: ImageTarget, layer: str
    ) -> tuple[NDArray[np.float32] | None, bytes | None]:
        """The stored vector of an image, else the path of a file to embed."""
        image_id = find_image_id(self.store, target)
        if image_id is not None:
            vector = self.store.vectors.get(layer, image_id)
            if vector is not None:
                return np.asarray(vector, dtype=np.float32), None
        return None, self._path_on_disk(target, image_id)

    def _path_on_disk(self, target: ImageTarget, image_id: int | None) -> bytes:
        """An existing file of the image. Raises UsageError when there is none."""
        if target.path is not None and os.path.exists(target.path):
            return target.path
        paths = self.store.images.paths([image_id]) if image_id is not None else {}
        if image_id not in paths:
            raise UsageError(f"{target}: there is no such image in the index or on disk")
        return paths[image_id]


def _cli_text(term: SearchTerm, rule: TermRule) -> str:
    value = str(parse_target(term.value)) if rule.value_kind in ("image", "face") else " ".join(term.value.split())
    return f"{cli_option(term)} {value}"


def _is_missing_filter(condition: Filter) -> bool:
    return condition.key == "missing"
