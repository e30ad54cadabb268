"""Checks that a result has the form that its call promises, before the daemon stores it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexd.image_metadata.budget import PROBLEM_CHARACTERS_MAX, TEXTS_BYTES_MAX
from indexd.image_metadata.coerce import TEXT_MAX
from indexd.image_metadata.model import ImageFacts, ImageMetadata
from indexd.model_headers.description import ModelDescription
from indexd.worker.calls import (
    AnalyseImages,
    AnyCall,
    ClusterFaces,
    CompareCopies,
    CompareImages,
    ControlMapMade,
    CopiesCompared,
    DescribeModels,
    Embedded,
    EmbedImages,
    EmbedText,
    FacesClustered,
    FacesFound,
    FindFaces,
    ImageAttribute,
    ImagesAnalysed,
    ImagesCompared,
    ImagesRead,
    MakeControlMap,
    MakeThumbnails,
    ModelsDescribed,
    ModelVerified,
    ParseTexts,
    ReadFailure,
    ReadImages,
    Render,
    Rendered,
    RunFunction,
    SelfTest,
    TextsParsed,
    ThumbnailsMade,
    VerifyModel,
)
from indexd_schemas.image_format import ImageFormat

RESULT_TYPES: Mapping[type, type] = {
    EmbedText: Embedded,
    EmbedImages: Embedded,
    FindFaces: FacesFound,
    AnalyseImages: ImagesAnalysed,
    ClusterFaces: FacesClustered,
    MakeThumbnails: ThumbnailsMade,
    ReadImages: ImagesRead,
    ParseTexts: TextsParsed,
    DescribeModels: ModelsDescribed,
    CompareImages: ImagesCompared,
    CompareCopies: CopiesCompared,
    MakeControlMap: ControlMapMade,
    Render: Rendered,
    VerifyModel: ModelVerified,
}
"""Call type -> result type."""
_UNIT_LENGTH_TOLERANCE = 1e-2
HASH_BYTES = 32
SIDE_END = 1 << 32
MODEL_TEXT_CHARACTERS_MAX = 2000
MAX_ATTRIBUTES = 1000
MAX_ATTRIBUTE_CHARACTERS = 8192
"""Per image, and per key or value: a stage cannot fill the index."""

_MARKS: Mapping[ImageFormat, tuple[int, bytes]] = {
    "png": (0, b"\x89PNG\r\n\x1a\n"),
    "jpeg": (0, b"\xff\xd8\xff"),
    "webp": (8, b"WEBP"),
    "avif": (4, b"ftypavif"),
}
"""Bytes at an offset by which a file is told. The daemon loads no parser of images."""


def find_result_error(call: AnyCall, result: Any) -> str | None:
    """What is wrong with `result` as the result of `call`; None = nothing."""
    if isinstance(call, (SelfTest, RunFunction)):
        return None
    wanted = RESULT_TYPES[type(call)]
    if not isinstance(result, wanted):
        return f"{type(result).__name__} instead of {wanted.__name__}"
    match call, result:
        case EmbedText(_, texts), Embedded(vectors, _, problems):
            return _embedding_error(vectors, len(texts), problems)
        case EmbedImages(_, paths), Embedded(vectors, _, problems):
            return _embedding_error(vectors, len(paths), problems)
        case FindFaces(paths), FacesFound():
            return _faces_error(len(paths), result)
        case AnalyseImages(paths=paths), ImagesAnalysed():
            return _attributes_error(len(paths), result)
        case (
            (CompareImages(pairs=pairs) | CompareCopies(pairs=pairs)),
            (ImagesCompared(verdicts) | CopiesCompared(verdicts)),
        ):
            return _count_error("verdicts", len(verdicts), len(pairs))
        case ((ReadImages() | ParseTexts()), _):
            return _reading_error(call, result)
        case DescribeModels(paths), ModelsDescribed():
            return _descriptions_error(len(paths), result)
        case MakeThumbnails(), ThumbnailsMade():
            return _thumbnails_error(call, result)
        case Render(recipe), Rendered(encoded):
            name = recipe.encoding.format
            offset, mark = _MARKS[name]
            return None if encoded.startswith(mark, offset) else f"{len(encoded)} bytes that are no {name.upper()}"
    return None


def _reading_error(call: AnyCall, result: Any) -> str | None:
    if isinstance(call, ParseTexts):
        return _count_error("results", len(result.metadata), len(call.images)) or _metadata_error(result.metadata)
    if isinstance(call, ReadImages) and len(result.results) != len(call.paths):
        return _count_error("results", len(result.results), len(call.paths))
    results: Sequence[Any] = result.results
    facts = [one for one in results if isinstance(one, ImageFacts)]
    if any(not isinstance(one, ImageFacts | ReadFailure) for one in results):
        return "a result that is neither facts nor a failure"
    if any(
        len(one.content_hash) != HASH_BYTES or not 0 < one.width < SIDE_END or not 0 < one.height < SIDE_END
        for one in facts
    ):
        return "facts with a hash or a size that no file has"
    return _metadata_error([one.metadata for one in facts])


def _descriptions_error(count: int, result: ModelsDescribed) -> str | None:
    results: Sequence[Any] = result.results
    for one in results:
        if isinstance(one, ModelDescription):
            texts: Sequence[Any] = (one.kind, one.family, one.precision, one.prediction, one.title, one.problem)
            if any(not isinstance(text, str) or len(text) > MODEL_TEXT_CHARACTERS_MAX for text in texts):
                return "a description with a text that is too long"
        elif not isinstance(one, ReadFailure):
            return "a result that is neither a description nor a failure"
    return _count_error("descriptions", len(result.results), count)


def _metadata_error(metadata: Sequence[Any]) -> str | None:
    """The reader bounds every field; this is the other side of the boundary, and a reader may be a broken process."""
    for one in metadata:
        if not isinstance(one, ImageMetadata):
            return f"a {type(one).__name__} where ImageMetadata was wanted"
        if one.problem is not None and len(one.problem) > PROBLEM_CHARACTERS_MAX:
            return f"a problem of {len(one.problem)} characters"
        if sum(len(chunk.text) for chunk in one.raw) > TEXTS_BYTES_MAX:
            return "more text than is kept of one file"
        if any(text is not None and len(text) > TEXT_MAX for text in (one.prompt, one.negative_prompt, one.raw_prompt)):
            return "a prompt that is too long"
    return None


def _embedding_error(vectors: Any, count: int, problems: Mapping[int, str]) -> str | None:
    if (wrong := _matrix_error(vectors)) is not None:
        return wrong
    if (wrong := _count_error("vectors", len(vectors), count)) is not None:
        return wrong
    good = np.ones(count, bool)
    for place in problems:
        if not 0 <= place < count:
            return f"a problem with number {place} of {count}"
        good[place] = False
    return _unit_length_error(vectors[good])


def _faces_error(count: int, result: FacesFound) -> str | None:
    if (wrong := _count_error("lists of regions", len(result.regions), count)) is not None:
        return wrong
    if (wrong := _matrix_error(result.vectors)) is not None:
        return wrong
    rows = [region.row for regions in result.regions for region in regions if region.row is not None]
    if any(not 0 <= row < len(result.vectors) for row in rows):
        return f"a region with a vector beyond the {len(result.vectors)} it holds"
    if any(not 0 <= place < count for place in result.problems):
        return f"a problem with an image beyond the {count} that were sent"
    return _unit_length_error(result.vectors[rows])


def _attributes_error(count: int, result: ImagesAnalysed) -> str | None:
    if (wrong := _count_error("lists of attributes", len(result.attributes), count)) is not None:
        return wrong
    if any(not 0 <= place < count for place in result.problems):
        return f"a problem with an image beyond the {count} that were sent"
    for attributes in result.attributes:
        if len(attributes) > MAX_ATTRIBUTES:
            return f"{len(attributes)} attributes of one image where {MAX_ATTRIBUTES} are the limit"
        for one in attributes:
            if not _is_valid_attribute(one):
                return f"an attribute without text, with more than {MAX_ATTRIBUTE_CHARACTERS} characters or a bad score"
    return None


def _is_valid_attribute(one: Any) -> bool:
    return (
        isinstance(one, ImageAttribute)
        and all(isinstance(text, str) and 0 < len(text) <= MAX_ATTRIBUTE_CHARACTERS for text in (one.key, one.value))
        and (one.score is None or (isinstance(one.score, int | float) and math.isfinite(one.score)))
    )


def _thumbnails_error(call: MakeThumbnails, result: ThumbnailsMade) -> str | None:
    answered = {*result.problems, *result.perceptual_hashes}
    if not answered >= set(result.stealth_texts):
        extra = sorted(set(result.stealth_texts) - answered)
        return f"hidden texts of images {extra}, which have no other result"
    if not call.keep_pixels >= set(result.pixel_bytes):
        return f"pixels of images {sorted(set(result.pixel_bytes) - call.keep_pixels)}, which were not asked for"
    if answered != set(range(len(call.sources))):
        return f"images {sorted(answered)} of {len(call.sources)} are in it"
    return None


def _matrix_error(vectors: Any) -> str | None:
    if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32 or vectors.ndim != 2 or not vectors.shape[1]:
        shape = getattr(vectors, "shape", "none")
        return f"vectors of type {getattr(vectors, 'dtype', type(vectors).__name__)} and shape {shape}"
    return None


def _unit_length_error(vectors: NDArray[np.float32]) -> str | None:
    lengths = np.linalg.norm(vectors, axis=1)
    # Negated, so that NaN is found as well.
    wrong = np.flatnonzero(~(np.abs(lengths - 1.0) < _UNIT_LENGTH_TOLERANCE))
    return f"a vector of length {lengths[wrong[0]]:g} in row {wrong[0]}" if wrong.size else None


def _count_error(what: str, given: int, wanted: int) -> str | None:
    return None if given == wanted else f"{given} {what} for {wanted}"
