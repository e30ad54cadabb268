"""The face detector on held-out canvases: average precision, false positives, time."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from ruamel.yaml import YAML

from indexd.models.ultralytics_offline import load_ultralytics
from indexd_toyworld.evaluate.contact_sheet import make_sheet
from indexd_toyworld.evaluate.metrics import EvaluationResult, Metric, OnEvaluationProgress
from indexd_toyworld.face_canvases import FaceCanvas, canvases
from indexd_toyworld.train.detector import SIDE, write_canvases

CANVASES = 400
SEED = 910
CONFIDENCE = 0.5
SHOWN = 12


def evaluate(weights: Path, progress: OnEvaluationProgress) -> EvaluationResult:
    """Measures `weights`/detector/faces.pt with ultralytics' validator on held-out combinations."""
    with tempfile.TemporaryDirectory(prefix="toyworld-detector-") as scratch:
        folder = Path(scratch)
        progress("drawing canvases", 0, 3)
        drawn = list(canvases(SEED, CANVASES, "held_out"))
        write_canvases(folder / "held-out", drawn)
        model = load_ultralytics(folder / "ultralytics").YOLO(weights / "detector" / "faces.pt")
        progress("validating the detector", 1, 3)
        precision = _validate(model, folder)
        progress("counting false alarms", 2, 3)
        began = time.perf_counter()
        found = [_detected_boxes(model, canvas.pixels) for canvas in drawn]
        milliseconds = 1000 * (time.perf_counter() - began) / len(drawn)
    faceless = [boxes for boxes, canvas in zip(found, drawn, strict=True) if not canvas.faces]
    alarms = sum(len(boxes) > 0 for boxes in faceless)
    counted = sum(len(boxes) == len(canvas.faces) for boxes, canvas in zip(found, drawn, strict=True))
    return EvaluationResult(
        title="Face detector",
        metrics=(
            Metric("mAP50", precision.map50, minimum=0.98, remark=f"{CANVASES} canvases of one to nine scenes"),
            Metric("mAP50-95", precision.map),
            Metric("canvases with the right number of faces", counted / len(drawn), remark=f"confidence {CONFIDENCE}"),
            Metric(
                "canvases without a face that got one",
                alarms / max(len(faceless), 1),
                remark=f"{len(faceless)} canvases",
            ),
            Metric("time per image", milliseconds, unit="ms"),
        ),
        sheets={
            "detector": make_sheet(
                [_with_boxes(canvas, boxes) for canvas, boxes in zip(drawn, found, strict=True)][:SHOWN]
            )
        },
    )


def _validate(model: Any, folder: Path) -> Any:
    """ultralytics' figures for the single class."""
    description = folder / "held-out.yaml"
    with description.open("w", encoding="utf-8") as file:
        images = "held-out/images"
        YAML().dump({"path": str(folder), "train": images, "val": images, "names": ["face"]}, file)
    return model.val(
        data=str(description),
        imgsz=SIDE,
        batch=32,
        workers=0,
        plots=False,
        verbose=False,
        project=str(folder),
        name="validation",
    ).box


def _detected_boxes(model: Any, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The confident boxes of one image. ultralytics expects BGR arrays."""
    (answer,) = model.predict(np.ascontiguousarray(pixels[..., ::-1]), imgsz=SIDE, conf=CONFIDENCE, verbose=False)
    boxes: NDArray[np.float32] = answer.boxes.xyxy.cpu().numpy()
    return boxes


def _with_boxes(canvas: FaceCanvas, boxes: NDArray[np.float32]) -> Image.Image:
    image = Image.fromarray(canvas.pixels)
    pen = ImageDraw.Draw(image)
    for box in boxes:
        pen.rectangle([float(edge) for edge in box], outline=(255, 0, 200), width=max(1, image.width // 96))
    return image
