"""Training that was stopped goes on as if it had not been, and labels say what was drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn.functional import l1_loss

from indexd_toyworld.face_canvases import FaceCanvas
from indexd_toyworld.model_paths import toy_models
from indexd_toyworld.train import training_parts, upscaler
from indexd_toyworld.train.detector import write_canvases
from indexd_toyworld.train.training import Training


def test_a_stopped_training_goes_on_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SCENES": 6, "STEPS": 6, "BATCH": 2}.items():
        monkeypatch.setattr(upscaler, name, value)
    monkeypatch.setattr(training_parts, "SAVE_SECONDS", 0.0)
    upscaler.train(tmp_path / "whole", tmp_path / "one")
    calls = 0

    def stopped(*arguments: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return l1_loss(*arguments)

    monkeypatch.setattr(upscaler, "l1_loss", stopped)
    with pytest.raises(KeyboardInterrupt):
        upscaler.train(tmp_path / "stopped", tmp_path / "other")
    upscaler.train(tmp_path / "stopped", tmp_path / "other")
    assert calls == 4 + 3
    one, other = (load_file(toy_models(tmp_path / name).upscaler) for name in ("one", "other"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_stopped_training_goes_on_to_the_same_average_and_tells_of_every_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_parts, "SAVE_SECONDS", 0.0)
    saves: list[str] = []

    def train(folder: str, stop_at: int = 6) -> dict[str, torch.Tensor]:
        torch.manual_seed(2)
        module = torch.nn.Linear(3, 1)
        average = training_parts.WeightAverage(module, 0.9)
        optimizer = torch.optim.AdamW(module.parameters(), lr=0.1)
        training = Training(
            "line", module, optimizer, training_parts.TrainingBudget(6, None), tmp_path / folder, average
        )
        for step in training.steps(lambda: saves.append(folder)):
            if step == stop_at:
                break
            training.optimize(module(torch.tensor([1.0, step, -step])).square().sum())
        return average.weights

    whole = train("whole")
    assert saves == ["whole"] * 7
    train("stopped", stop_at=3)
    after = train("stopped")
    assert all(torch.equal(whole[name], after[name]) for name in whole)
    assert saves.count("stopped") == 4 + 4


def test_labels_are_centre_and_size_in_parts_of_the_picture(tmp_path: Path) -> None:
    pixels = np.full((50, 100, 3), 7, np.uint8)
    write_canvases(
        tmp_path, [FaceCanvas(pixels, ((10.0, 5.0, 30.0, 25.0), (60.0, 20.0, 100.0, 50.0))), FaceCanvas(pixels, ())]
    )
    assert (tmp_path / "labels" / "00000.txt").read_text("utf-8").splitlines() == [
        "0 0.200000 0.300000 0.200000 0.400000",
        "0 0.800000 0.700000 0.400000 0.600000",
    ]
    assert (tmp_path / "labels" / "00001.txt").read_text("utf-8") == ""
    with Image.open(tmp_path / "images" / "00001.png") as image:
        assert image.size == (100, 50)
