"""A few pictures for many: of a character by its faces, of a query by how its pictures look."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from indexd.characters.find import find_character
from indexd.characters.operations import qualities, vectors_of
from indexd.characters.sample import sample
from indexd.errors import NothingFound, UsageError
from indexd.search.language import parse
from indexd.search.present import present_file
from indexd.store.index import Store
from indexd.store.records import Filter, ImageRow
from indexd.watch.paths import display
from indexd_schemas.characters import Sample, SampledPicture, SampleQuestion

LOOK = "clip_h"
# Above this the pictures of a query are first thinned out by chance: 20 000 x 1024 are 80 MB.
MOST_PICTURES = 20_000


def take_sample(store: Store, question: SampleQuestion) -> Sample:
    """See Operations. Pictures that lie nowhere now are not taken."""
    if question.character is not None:
        return _of_character(store, question)
    if not question.filters:
        raise UsageError("say of what: a character, or a query of at least one filter")
    return _of_query(store, question)


def _of_character(store: Store, question: SampleQuestion) -> Sample:
    row = find_character(store, question.character or "")
    image_of = store.faces.images([member.region_id for member in store.characters.members([row.id])])
    allowed = store.filters.ids(_present(question.filters))
    regions = [one for one, image in image_of.items() if allowed is None or image in allowed]
    ids, rows = vectors_of(store, regions)
    order = sample(question.strategy, len(ids), rows, qualities(store, ids), question.seed)
    # One face a picture: the first that was chosen.
    first: dict[int, int] = {}
    for region in ids[order].tolist():
        first.setdefault(image_of[region], region)
        if len(first) == question.count:
            break
    return _told(store, first.items(), len({image_of[one] for one in regions}))


def _of_query(store: Store, question: SampleQuestion) -> Sample:
    among = sorted(store.filters.ids(_present(question.filters)) or ())
    if question.strategy == "random":
        chosen = np.random.default_rng(question.seed).permutation(len(among))[: question.count]
        return _told(store, ((among[place], None) for place in chosen.tolist()), len(among))
    some = among
    if len(among) > MOST_PICTURES:
        places = np.random.default_rng(question.seed).choice(len(among), MOST_PICTURES, replace=False)
        some = [among[place] for place in np.sort(places).tolist()]
    if question.strategy == "best":
        known = store.images.rows(some)
        ranked = sorted(some, key=lambda one: (-(known[one].rating or 0), -known[one].width * known[one].height, one))
        return _told(store, ((one, None) for one in ranked[: question.count]), len(among))
    slices = list(store.walks.vectors(LOOK, np.array(some, np.int64)))
    if not slices:
        raise NothingFound("none of these pictures has a vector of its look (clip_h) yet; --strategy random needs none")
    ids = np.concatenate([one for one, _ in slices])
    rows = np.concatenate([vectors for _, vectors in slices]).astype(np.float32)
    order = sample(question.strategy, question.count, rows, np.zeros(len(ids)), question.seed)
    return _told(store, ((one, None) for one in ids[order].tolist()), len(among))


def _present(filters: Iterable[str]) -> list[Filter]:
    wanted = parse(filters)
    if not any(one.key == "missing" for one in wanted):
        wanted.append(Filter("missing", "=", "no"))
    return wanted


def _told(store: Store, chosen: Iterable[tuple[int, int | None]], among: int) -> Sample:
    listed = list(chosen)
    known = store.images.rows([image for image, _ in listed])
    return Sample(pictures=[_picture(known[image], region) for image, region in listed if image in known], among=among)


def _picture(row: ImageRow, region: int | None) -> SampledPicture:
    file = present_file(row)
    return SampledPicture(
        image_id=row.id, hash=row.content_hash.hex(), path=display(file.path) if file else None, region=region
    )
