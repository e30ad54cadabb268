"""Serves find_faces: each picture is decoded once, looked at by every detector, and its faces are embedded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from indexd.errors import ModelOff, NotAPicture, NotRegular, raise_unless_away
from indexd.images.crop import face_crop, in_pixels
from indexd.images.decode import open_picture
from indexd.images.region_quality import quality, sharpness
from indexd.models.detector import Detector, Seen, best_of, lent_detector
from indexd.models.device import resolve_device
from indexd.models.face_embedders import FaceEmbedder, face_embedder
from indexd.models.windows import Vectors
from indexd.worker.calls import CLIP_H, FACES, FacesFound, FacesSpec, FindFaces, FoundRegion, Verified
from indexd.worker.roles import NO_DETECTOR
from indexd.worker.session import Session

FACE = "face"
CROP_VERSION = 1
"""Counts changes in how faces are cut out: vectors before and after one are not compared."""
PIXELS_AT_ONCE = 64_000_000
"""So many pixels of decoded pictures are held at once: 192 MB, and as much again inside the detector."""
FACES_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Models:
    """Everything that finds and embeds, on loan for one call."""

    spec: FacesSpec
    detectors: tuple[Detector, ...]
    embedder: FaceEmbedder

    @property
    def identity(self) -> str:
        """Names what makes the vectors: the embedder, and how faces are cut out."""
        return f"{self.embedder.identity}+crop{CROP_VERSION}/{self.spec.padding:g}/{self.spec.background}"

    @property
    def eyes(self) -> str:
        """Names what finds the regions: the detectors, and what is kept."""
        told = repr([(one.identity, spec) for one, spec in zip(self.detectors, _unplaced(self.spec), strict=True)])
        return blake2b(told.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()


def find_faces(call: FindFaces, session: Session) -> FacesFound:
    """What is found in each picture, faces with their vectors; a picture that cannot be decoded has its reason."""
    with ExitStack() as stack:
        models = _borrow(stack, session)
        regions: list[tuple[FoundRegion, ...]] = [()] * len(call.paths)
        crops: list[Vectors] = []
        problems: dict[int, str] = {}
        count = 0
        for pictures in _groups(call.paths, models.spec.batch_size, problems):
            session.between_steps()
            for place, found, faces in _looked_at(models, pictures, call, session):
                regions[place] = tuple(replace(one, row=None if one.row is None else count + one.row) for one in found)
                count += len(faces)
                crops.append(faces)
            session.progress("pictures", max(pictures) + 1, len(call.paths))
        vectors = np.concatenate(crops) if crops else np.zeros((0, models.embedder.dim), np.float32)
        return FacesFound(tuple(regions), vectors, models.identity, models.eyes, problems)


def verify_faces(session: Session) -> Verified:
    """Load every model of [faces] and run it once on a plain picture. Raises ModelOff with the reason."""
    with ExitStack() as stack:
        models = _borrow(stack, session)
        plain = Image.new("RGB", (256, 256), "white")
        for detector in models.detectors:
            session.pool.with_room(lambda detector=detector: detector.detect([plain]))  # type: ignore[misc]
        vectors = session.pool.with_room(lambda: models.embedder.embed_pictures([plain]))
        if not np.isfinite(vectors).all():
            raise ModelOff(FACES, f"the face embedder {models.spec.embedder} gives vectors that are no numbers")
        eyes = ", ".join(detector.identity for detector in models.detectors)
        return Verified(models.identity, f"{models.embedder.dim} numbers a vector on {_device(session)}, {eyes}")


def _borrow(stack: ExitStack, session: Session) -> Models:
    spec = session.settings.faces
    if not spec.detectors:
        raise ModelOff(FACES, NO_DETECTOR)
    device = _device(session)
    detectors = [
        stack.enter_context(lent_detector(one, device, spec.keep_alive_seconds, session)) for one in spec.detectors
    ]
    return Models(spec, tuple(detectors), stack.enter_context(face_embedder(spec, device, session)))


def _device(session: Session) -> str:
    if CLIP_H in session.settings.models:
        return session.spec(CLIP_H).device
    return resolve_device("auto", FACES)


def _unplaced(spec: FacesSpec) -> list[tuple[object, ...]]:
    """What is kept of each detector's finds; where its file lies does not matter."""
    return [(sorted(one.kinds.items()), one.confidence, one.min_size_px) for one in spec.detectors]


def _groups(paths: Sequence[bytes], most: int, problems: dict[int, str]) -> Iterator[dict[int, Image.Image]]:
    """Pictures by their place in the call, as many at once as fit; the reasons of those that do not open go to `problems`.

    Raises OSError where the machine is at fault and the picture is there.
    """
    group: dict[int, Image.Image] = {}
    pixels = 0
    for place, path in enumerate(paths):
        try:
            picture = open_picture(path)
        except (NotAPicture, NotRegular, OSError) as error:
            raise_unless_away(error, path)
            problems[place] = str(error)
            continue
        if group and (len(group) >= most or pixels + picture.width * picture.height > PIXELS_AT_ONCE):
            yield group
            group, pixels = {}, 0
        group[place] = picture
        pixels += picture.width * picture.height
    if group:
        yield group


def _looked_at(
    models: Models, pictures: dict[int, Image.Image], call: FindFaces, session: Session
) -> Iterator[tuple[int, list[FoundRegion], Vectors]]:
    """For each picture its place, its regions (`row` counting its own faces) and the vectors of its faces."""
    everything = list(pictures.values())
    seen: list[list[Seen]] = [[] for _ in everything]
    for detector in models.detectors:
        found = session.pool.with_room(lambda detector=detector: detector.detect(everything))  # type: ignore[misc]
        for mine, more in zip(seen, found, strict=True):
            mine += more
    known = call.known or ((),) * len(call.paths)
    kept = [best_of(mine, known[place]) for place, mine in zip(pictures, seen, strict=True)]
    crops = [
        face_crop(picture, one.box, models.spec.padding, grey=models.spec.background == "grey")
        for picture, mine in zip(everything, kept, strict=True)
        for one in mine
        if one.kind == FACE
    ]
    vectors = _embedded(models.embedder, crops, session)
    start = 0
    for (place, picture), mine in zip(pictures.items(), kept, strict=True):
        faces = sum(one.kind == FACE for one in mine)
        rows = vectors[start : start + faces]
        start += faces
        yield place, *_measured(picture, mine, rows)


def _embedded(model: FaceEmbedder, crops: Sequence[Image.Image], session: Session) -> Vectors:
    parts = [np.zeros((0, model.dim), np.float32)]
    for start in range(0, len(crops), FACES_AT_ONCE):
        some = crops[start : start + FACES_AT_ONCE]
        parts.append(session.pool.with_room(lambda some=some: model.embed_pictures(some)))  # type: ignore[misc]
        session.between_steps()
    return np.concatenate(parts)


def _measured(picture: Image.Image, seen: Sequence[Seen], rows: Vectors) -> tuple[list[FoundRegion], Vectors]:
    """The regions with their quality. A face of which the model gave nothing usable is a region without a vector."""
    usable: NDArray[np.bool_] = np.asarray(np.isfinite(rows).all(axis=1))
    place = np.cumsum(usable) - 1
    regions = []
    nth = 0
    for one in seen:
        row = None
        if one.kind == FACE:
            row = int(place[nth]) if usable[nth] else None
            nth += 1
        left, top, width, height = in_pixels(picture, one.box)
        # The ends of a thin region may fall on the same pixel.
        region = picture.crop(
            (int(left), int(top), max(int(left) + 1, round(left + width)), max(int(top) + 1, round(top + height)))
        )
        sharp = sharpness(region)
        good = quality(one.size_px, sharp, one.confidence)
        regions.append(FoundRegion(one.kind, one.detector, *one.box, one.confidence, one.size_px, sharp, good, row))
    return regions, rows[usable]
