"""Serves FindFaces: every detector examines each image, and the faces found are embedded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from indexd.errors import ModelUnavailable
from indexd.images.face_crop import box_to_pixels, crop_face, face_quality, sharpness
from indexd.models.detector import Detection, RegionDetector, lease_detector, suppress_overlaps
from indexd.models.device import resolve_device
from indexd.models.face_embedders import FaceEmbedder, lease_face_embedder
from indexd.models.image_inputs import iterate_images
from indexd.models.token_windows import EmbeddingArray
from indexd.worker.calls import CLIP_H, FACES, FacesFound, FacesSpec, FindFaces, FoundRegion, ModelVerified
from indexd.worker.role_availability import NO_DETECTOR_REASON
from indexd.worker.session import CallSession

FACE = "face"
CROP_VERSION = 1
"""Counts changes in how faces are cut out: vectors before and after one are not compared."""
FACE_BATCH_SIZE = 64


@dataclass(frozen=True, slots=True)
class FaceModels:
    """The detectors and the face embedder, leased for one call."""

    spec: FacesSpec
    detectors: tuple[RegionDetector, ...]
    embedder: FaceEmbedder

    @property
    def identity(self) -> str:
        """Names what makes the vectors: the embedder, and how faces are cut out."""
        return f"{self.embedder.identity}+crop{CROP_VERSION}/{self.spec.padding:g}/{self.spec.background}"

    @property
    def detector_identity(self) -> str:
        """Names what finds the regions: the detectors, and what is kept."""
        parts = repr(
            [(one.identity, spec) for one, spec in zip(self.detectors, _detection_rules(self.spec), strict=True)]
        )
        return blake2b(parts.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()


def find_faces(call: FindFaces, session: CallSession) -> FacesFound:
    """The regions of each image, faces with their vectors; an image that cannot be decoded has its reason."""
    with ExitStack() as stack:
        models = _lease_models(stack, session)
        regions: list[tuple[FoundRegion, ...]] = [()] * len(call.paths)
        crops: list[EmbeddingArray] = []
        problems: dict[int, str] = {}
        count = 0
        for images in iterate_images(call.paths, call.pixel_files, models.spec.batch_size, problems):
            session.poll()
            for place, found, faces in _detect_and_embed(models, images, call, session):
                regions[place] = tuple(replace(one, row=None if one.row is None else count + one.row) for one in found)
                count += len(faces)
                crops.append(faces)
            session.progress("images", max(images) + 1, len(call.paths))
        vectors = np.concatenate(crops) if crops else np.zeros((0, models.embedder.dim), np.float32)
        return FacesFound(tuple(regions), vectors, models.identity, models.detector_identity, problems)


def verify_faces(session: CallSession) -> ModelVerified:
    """Load every model of [faces] and run it once on a plain image. Raises ModelUnavailable with the reason."""
    with ExitStack() as stack:
        models = _lease_models(stack, session)
        plain = Image.new("RGB", (256, 256), "white")
        for detector in models.detectors:
            session.pool.run_with_eviction(lambda detector=detector: detector.detect([plain]))  # type: ignore[misc]
        vectors = session.pool.run_with_eviction(lambda: models.embedder.embed_images([plain]))
        if not np.isfinite(vectors).all():
            raise ModelUnavailable(FACES, f"the face embedder {models.spec.embedder} gives vectors that are no numbers")
        detectors = ", ".join(detector.identity for detector in models.detectors)
        return ModelVerified(
            models.identity, f"{models.embedder.dim} numbers a vector on {_device(session)}, {detectors}"
        )


def _lease_models(stack: ExitStack, session: CallSession) -> FaceModels:
    spec = session.settings.faces
    if not spec.detectors:
        raise ModelUnavailable(FACES, NO_DETECTOR_REASON)
    device = _device(session)
    detectors = [
        stack.enter_context(lease_detector(one, device, spec.keep_alive_seconds, session)) for one in spec.detectors
    ]
    return FaceModels(spec, tuple(detectors), stack.enter_context(lease_face_embedder(spec, device, session)))


def _device(session: CallSession) -> str:
    if CLIP_H in session.settings.models:
        return session.spec(CLIP_H).device
    return resolve_device("auto", FACES)


def _detection_rules(spec: FacesSpec) -> list[tuple[object, ...]]:
    """Which detections of each detector are kept; where its file lies does not matter."""
    return [(sorted(one.kinds.items()), one.confidence, one.min_size_px) for one in spec.detectors]


def _detect_and_embed(
    models: FaceModels, images: dict[int, Image.Image], call: FindFaces, session: CallSession
) -> Iterator[tuple[int, list[FoundRegion], EmbeddingArray]]:
    """For each image its place, its regions (`row` counting its own faces) and the vectors of its faces."""
    everything = list(images.values())
    detections: list[list[Detection]] = [[] for _ in everything]
    for detector in models.detectors:
        found = session.pool.run_with_eviction(lambda detector=detector: detector.detect(everything))  # type: ignore[misc]
        for mine, more in zip(detections, found, strict=True):
            mine += more
    known = call.known or ((),) * len(call.paths)
    kept = [suppress_overlaps(mine, known[place]) for place, mine in zip(images, detections, strict=True)]
    crops = [
        crop_face(image, one.box, models.spec.padding, gray_background=models.spec.background == "grey")
        for image, mine in zip(everything, kept, strict=True)
        for one in mine
        if one.kind == FACE
    ]
    vectors = _embed_crops(models.embedder, crops, session)
    start = 0
    for (place, image), mine in zip(images.items(), kept, strict=True):
        faces = sum(one.kind == FACE for one in mine)
        rows = vectors[start : start + faces]
        start += faces
        yield place, *_measure_regions(image, mine, rows)


def _embed_crops(model: FaceEmbedder, crops: Sequence[Image.Image], session: CallSession) -> EmbeddingArray:
    parts = [np.zeros((0, model.dim), np.float32)]
    for start in range(0, len(crops), FACE_BATCH_SIZE):
        some = crops[start : start + FACE_BATCH_SIZE]
        parts.append(session.pool.run_with_eviction(lambda some=some: model.embed_images(some)))  # type: ignore[misc]
        session.poll()
    return np.concatenate(parts)


def _measure_regions(
    image: Image.Image, detections: Sequence[Detection], rows: EmbeddingArray
) -> tuple[list[FoundRegion], EmbeddingArray]:
    """The regions with their quality. A face of which the model gave nothing usable is a region without a vector."""
    usable: NDArray[np.bool_] = np.asarray(np.isfinite(rows).all(axis=1))
    place = np.cumsum(usable) - 1
    regions = []
    nth = 0
    for one in detections:
        row = None
        if one.kind == FACE:
            row = int(place[nth]) if usable[nth] else None
            nth += 1
        left, top, width, height = box_to_pixels(image, one.box)
        # The ends of a thin region may fall on the same pixel.
        region = image.crop(
            (int(left), int(top), max(int(left) + 1, round(left + width)), max(int(top) + 1, round(top + height)))
        )
        sharp = sharpness(region)
        good = face_quality(one.size_px, sharp, one.confidence)
        regions.append(FoundRegion(one.kind, one.detector, *one.box, one.confidence, one.size_px, sharp, good, row))
    return regions, rows[usable]
