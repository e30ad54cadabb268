"""Trains the face detector from scratch: a small ultralytics network on drawn canvases with known boxes."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.console import Console
from ruamel.yaml import YAML

from indexd.models.ultralytics_offline import load_ultralytics
from indexd_toyworld.face_canvases import FaceCanvas, canvases
from indexd_toyworld.model_paths import toy_models

SIDE = 128
TRAIN_CANVASES = 2000
HELD_OUT_CANVASES = 300
EPOCHS = 10
SEED = 20_261


def train(build: Path, weights: Path, minutes: float | None = None) -> None:
    """Train and write `weights`/detector/faces.pt in half precision, without any trace of this machine.

    Keeps its state in `build` and resumes an interrupted run. `minutes` sets the duration.
    """
    load_ultralytics(build / "ultralytics")
    trainer_class = _trainer_class()
    data = write_dataset(build)
    last = build / "run" / "weights" / "last.pt"
    settings: dict[str, Any] = {
        "model": "faces.yaml",
        "data": str(data),
        "imgsz": SIDE,
        "epochs": EPOCHS,
        "time": minutes / 60 if minutes else None,
        "batch": 16,
        "nbs": 16,  # one step per batch; ultralytics would accumulate four
        "optimizer": "AdamW",
        "lr0": 0.002,
        "cos_lr": True,
        "warmup_epochs": 1.0,
        "mosaic": 0.0,  # the canvases already are mosaics of whole scenes
        "scale": 0.4,
        "seed": SEED,
        "cache": True,
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "workers": 0,
        "amp": False,  # its check downloads weights
        "plots": False,
        "pretrained": False,
        "project": str(build),
        "name": "run",
        "exist_ok": True,
    }
    if _unfinished(last):
        settings["resume"] = str(last)
    trainer = trainer_class(overrides=settings)
    trainer.add_callback("on_fit_epoch_end", _print_epoch)
    trainer.train()
    write_weights(build / "run" / "weights" / "best.pt", toy_models(weights).detector)


def write_dataset(folder: Path) -> Path:
    """Write the canvases in ultralytics' format. Returns the path of the dataset description."""
    description = folder / "faces-data.yaml"
    if not description.exists():
        write_canvases(folder / "train", canvases(SEED, TRAIN_CANVASES, "train"))
        write_canvases(folder / "val", canvases(SEED + 1, HELD_OUT_CANVASES, "held_out"))
        # Written last, so an interrupted run draws the dataset again.
        with description.open("w", encoding="utf-8") as file:
            YAML().dump({"path": str(folder), "train": "train/images", "val": "val/images", "names": ["face"]}, file)
    return description


def write_canvases(folder: Path, drawn: Iterable[FaceCanvas]) -> None:
    """Write numbered images and labels (class, centre and size in shares of the image)."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    for number, canvas in enumerate(drawn):
        height, width = canvas.pixels.shape[:2]
        Image.fromarray(canvas.pixels).save(folder / "images" / f"{number:05}.png")
        lines = [
            f"0 {(left + right) / 2 / width:.6f} {(top + bottom) / 2 / height:.6f} "
            f"{(right - left) / width:.6f} {(bottom - top) / height:.6f}\n"
            for left, top, right, bottom in canvas.faces
        ]
        (folder / "labels" / f"{number:05}.txt").write_text("".join(lines), "utf-8")


def write_weights(checkpoint: Path, target: Path) -> None:
    """Write only the network: ultralytics' own file also contains training folders and repository paths."""
    held = torch.load(checkpoint, map_location="cpu", weights_only=False)
    network = (held["ema"] or held["model"]).half()
    for parameter in network.parameters():
        parameter.requires_grad = False
    network.criterion = None
    network.args = {"task": "detect", "imgsz": SIDE}
    network.yaml.pop("yaml_file", None)
    target.parent.mkdir(parents=True, exist_ok=True)
    torch.save(
        {
            "model": network,
            "ema": None,
            "epoch": -1,
            "train_args": {"task": "detect", "imgsz": SIDE},
            "version": held["version"],
            "license": "AGPL-3.0-or-later",
        },
        target,
    )


def _unfinished(checkpoint: Path) -> bool:
    if not checkpoint.is_file():
        return False
    held = torch.load(checkpoint, map_location="cpu", weights_only=False)
    return bool(held["epoch"] >= 0)


def _print_epoch(trainer: Any) -> None:
    if trainer.epoch >= trainer.epochs:
        return  # repeated call after the best weights were measured
    precision = trainer.metrics.get("metrics/mAP50(B)", float("nan"))
    Console().print(f"detector: epoch {trainer.epoch + 1} of {trainer.epochs}, mAP50 {precision:.3f}")


def _trainer_class() -> Any:
    """ultralytics' trainer with our network, defined here because ultralytics must not be imported earlier."""
    from ultralytics.models.yolo.detect import DetectionTrainer
    from ultralytics.nn.tasks import DetectionModel

    class FaceTrainer(DetectionTrainer):  # type: ignore[misc]
        def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:  # noqa: ARG002
            description = YAML(typ="safe").load(Path(__file__).with_name("faces.yaml").read_text("utf-8"))
            network = self.set_model_names_for_load(DetectionModel(description, nc=1, ch=3, verbose=False))
            if weights is not None:
                network.load(weights)
            return network

    return FaceTrainer
