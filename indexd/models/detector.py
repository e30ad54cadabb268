"""Detectors: ultralytics models from local files, and what they find as plain regions.

The file is data: ultralytics reads it with weights only and its own classes allowed (see ultralytics_offline).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from indexd.errors import ModelUnavailable
from indexd.models.device import is_out_of_memory, resolve_dtype
from indexd.models.model_identity import file_sha256
from indexd.models.ultralytics_offline import load_ultralytics, predict
from indexd.worker.calls import FACES, Box, DetectorSpec, FoundRegion, intersection_over_union
from indexd.worker.session import CallSession

# Several detectors see the same face; inside one, boxes that overlap as much are one thing as well.
OVERLAP_THRESHOLD = 0.5
MAX_REGIONS = 300


@dataclass(frozen=True, slots=True)
class Detection:
    """One box of one detector, before it is measured."""

    kind: str
    detector: str
    box: Box
    confidence: float
    size_px: int


class RegionDetector:
    """A loaded detector."""

    def __init__(self, model: Any, spec: DetectorSpec, device: str, half: bool, identity: str) -> None:
        self._model = model
        self._spec = spec
        self._device = device
        self._half = half
        self.identity = identity
        names = {int(number): str(name) for number, name in model.names.items()}
        self._kinds = {number: spec.kinds.get(name, "" if spec.kinds else name) for number, name in names.items()}
        if not any(self._kinds.values()):
            known = ", ".join(names.values())
            raise ModelUnavailable(
                FACES, f"{spec.path} detects none of {', '.join(spec.kinds)}; its classes are {known}"
            )

    def detect(self, images: Sequence[Image.Image]) -> list[list[Detection]]:
        """What is found in each upright RGB image, kept when confident and large enough."""
        results = predict(
            self._model,
            images,
            conf=self._spec.confidence,
            iou=OVERLAP_THRESHOLD,
            max_det=MAX_REGIONS,
            device=self._device,
            quantize=16 if self._half else None,
            batch=len(images),
        )
        return [list(self._kept_detections(result, image)) for result, image in zip(results, images, strict=True)]

    def _kept_detections(self, result: Any, image: Image.Image) -> Iterable[Detection]:
        boxes = result.boxes
        if boxes is None:  # a classifier, or a model of another task
            raise ModelUnavailable(FACES, f"{self._spec.path} gives no boxes; a detection model does")
        rows = np.concatenate([boxes.xyxy.cpu().numpy(), boxes.conf.cpu().numpy()[:, None]], axis=1).astype(np.float64)
        for (x0, y0, x1, y1, confidence), number in zip(rows, boxes.cls.cpu().numpy().astype(int), strict=True):
            kind = self._kinds[int(number)]
            x0, x1 = np.clip((x0, x1), 0, image.width)
            y0, y1 = np.clip((y0, y1), 0, image.height)
            size_px = int(min(x1 - x0, y1 - y0)) if np.isfinite([x0, y0, x1, y1]).all() else 0
            if kind and size_px >= self._spec.min_size_px:
                left, top = x0 / image.width, y0 / image.height
                box = (float(left), float(top), float(x1 / image.width - left), float(y1 / image.height - top))
                yield Detection(kind, self.identity, box, float(confidence), size_px)


def suppress_overlaps(detections: Iterable[Detection], known: Iterable[FoundRegion] = ()) -> list[Detection]:
    """One box a thing: of those of a kind that overlap, the most confident. `known` regions are among them in any case."""
    kept: list[Detection] = []
    for one in sorted(detections, key=lambda one: -one.confidence):
        if not any(
            one.kind == other.kind and intersection_over_union(one.box, other.box) > OVERLAP_THRESHOLD for other in kept
        ):
            kept.append(one)
    for region in known:
        if not any(
            region.kind == other.kind and intersection_over_union(region.box, other.box) >= OVERLAP_THRESHOLD
            for other in kept
        ):
            kept.append(Detection(region.kind, region.detector, region.box, region.confidence, region.size_px))
    return kept


def lease_detector(
    spec: DetectorSpec, device: str, keep_alive_seconds: float | None, session: CallSession
) -> AbstractContextManager[RegionDetector]:
    """A lease of a detector; in half precision on a GPU. Raises ModelUnavailable with the reason for which it cannot be loaded."""
    half = resolve_dtype("auto", device) == "float16"
    return session.pool.lease(
        FACES,
        f"{FACES}:{spec!r}:{device}",
        lambda: load_detector(spec, device, half, session.settings.cache_folder),
        keep_alive_seconds,
    )


def load_detector(spec: DetectorSpec, device: str, half: bool, cache_folder: str) -> RegionDetector:
    """Load an ultralytics detector (.pt). Raises ModelUnavailable with the reason; code in the file is never run."""
    path = Path(spec.path)
    model = load_yolo(path, "detect", device, FACES, cache_folder)
    name = "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in path.name)
    return RegionDetector(model, spec, device, half, f"{name}/{file_sha256(path, cache_folder)[:12]}")


def load_yolo(path: Path, task: str, device: str, role: str, cache_folder: str) -> Any:
    """An ultralytics model (.pt) for `task` on `device`. Raises ModelUnavailable for `role`; code in the file is never run."""
    if not path.is_file():
        # ultralytics would look for a file of that name elsewhere, and on the network.
        raise ModelUnavailable(role, f"there is nothing at {path}")
    if path.suffix.lower() != ".pt":
        raise ModelUnavailable(role, f"{path} is no .pt file of an ultralytics model")
    try:
        model = load_ultralytics(Path(cache_folder) / "libraries").YOLO(str(path), task=task, verbose=False)
        model.to(device)
    except ModelUnavailable:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ModelUnavailable(role, f"{path} cannot be loaded: {first[:300]}") from error
    return model
