"""Samples of images: of a character by the vectors of its faces, of a query by the image vectors."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from indexd.characters.lookup import find_character
from indexd.characters.operations import load_face_qualities, load_face_vectors
from indexd.characters.sample_strategies import choose_sample
from indexd.errors import NothingFound, UsageError
from indexd.fs.paths import display
from indexd.search.query.filter_language import parse_filters
from indexd.search.serialization import find_present_file
from indexd.store.protocols import IndexStore
from indexd.store.records import Filter, ImageRow
from indexd_schemas.api.characters import SampledImage, SampleRequest, SampleResult

VISUAL_LAYER = "clip_h"
# Above this number a random subset of a query's images is compared: 20 000 x 1024 float32 are 80 MB.
MAX_COMPARED_IMAGES = 20_000


def take_sample(store: IndexStore, request: SampleRequest) -> SampleResult:
    """See Operations. Images without a present file are excluded."""
    if request.character is not None:
        return _sample_character(store, request)
    if not request.filters:
        raise UsageError("give a character, or a query with at least one filter")
    return _sample_query(store, request)


def _sample_character(store: IndexStore, request: SampleRequest) -> SampleResult:
    row = find_character(store, request.character or "")
    image_of = store.faces.image_ids([member.region_id for member in store.characters.members([row.id])])
    allowed = store.filters.ids(_present_only(request.filters))
    regions = [one for one, image in image_of.items() if allowed is None or image in allowed]
    ids, rows = load_face_vectors(store, regions)
    order = choose_sample(request.strategy, len(ids), rows, load_face_qualities(store, ids), request.seed)
    # One face for each image: the first that was chosen.
    first: dict[int, int] = {}
    for region in ids[order].tolist():
        first.setdefault(image_of[region], region)
        if len(first) == request.count:
            break
    return _serialize_sample(store, first.items(), len({image_of[one] for one in regions}))


def _sample_query(store: IndexStore, request: SampleRequest) -> SampleResult:
    among = sorted(store.filters.ids(_present_only(request.filters)) or ())
    if request.strategy == "random":
        chosen = np.random.default_rng(request.seed).permutation(len(among))[: request.count]
        return _serialize_sample(store, ((among[index], None) for index in chosen.tolist()), len(among))
    compared = among
    if len(among) > MAX_COMPARED_IMAGES:
        indices = np.random.default_rng(request.seed).choice(len(among), MAX_COMPARED_IMAGES, replace=False)
        compared = [among[index] for index in np.sort(indices).tolist()]
    if request.strategy == "best":
        known = store.images.rows(compared)
        ranked = sorted(
            compared, key=lambda one: (-(known[one].rating or 0), -known[one].width * known[one].height, one)
        )
        return _serialize_sample(store, ((one, None) for one in ranked[: request.count]), len(among))
    slices = list(store.bulk_reader.iter_vectors(VISUAL_LAYER, np.array(compared, np.int64)))
    if not slices:
        raise NothingFound("none of these images has an image vector (clip_h) yet; --strategy random needs none")
    ids = np.concatenate([one for one, _ in slices])
    rows = np.concatenate([vectors for _, vectors in slices]).astype(np.float32)
    order = choose_sample(request.strategy, request.count, rows, np.zeros(len(ids)), request.seed)
    return _serialize_sample(store, ((one, None) for one in ids[order].tolist()), len(among))


def _present_only(filters: Iterable[str]) -> list[Filter]:
    wanted = parse_filters(filters)
    if not any(one.key == "missing" for one in wanted):
        wanted.append(Filter("missing", "=", "no"))
    return wanted


def _serialize_sample(store: IndexStore, chosen: Iterable[tuple[int, int | None]], population: int) -> SampleResult:
    listed = list(chosen)
    known = store.images.rows([image for image, _ in listed])
    return SampleResult(
        images=[_serialize_image(known[image], region) for image, region in listed if image in known],
        among=population,
    )


def _serialize_image(row: ImageRow, region: int | None) -> SampledImage:
    file = find_present_file(row)
    return SampledImage(
        image_id=row.id, hash=row.content_hash.hex(), path=display(file.path) if file else None, region=region
    )
