"""Control maps: what makes them, and the cache that makes each of them once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import DPTForDepthEstimation, DPTImageProcessor

from indexd.control_maps import control_map, edge_maps
from indexd.control_maps.map_cache import ControlMapCache
from indexd.control_maps.openpose_skeleton import draw_people, openpose_joints
from indexd.errors import IndexdError, ModelUnavailable
from indexd.models.model_pool import ModelPool
from indexd.worker.calls import ControlSpec, MakeControlMap, ModelSpec, WorkerSettings
from tests.models.resident.tiny_detector import write_pose_model
from tests.support.tiny_models.conditioning import TinyConditioningModels

T = TypeVar("T")


class CountingPool(ModelPool):
    """Remembers which roles were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    @contextmanager
    def lease(self, role: str, key: str, load: Callable[[], T], keep_alive_seconds: float | None) -> Iterator[T]:
        self.asked.append(role)
        with super().lease(role, key, load, keep_alive_seconds) as model:
            yield model


class Room:
    """A session without a generator."""

    def __init__(self, cache: Path, control: ControlSpec) -> None:
        self.pool = CountingPool()
        self.settings = WorkerSettings({}, str(cache), control=control)

    def spec(self, role: str) -> ModelSpec:
        return ModelSpec(role, "", device="cpu")

    def poll(self) -> None:
        """Nothing is urgent here."""

    def progress(self, stage: str, done: int, total: int) -> None:
        """Nobody listens."""


@pytest.fixture
def room(tmp_path: Path, tiny_guides: TinyConditioningModels) -> Room:
    return Room(tmp_path / "cache", ControlSpec(depth_model=str(tiny_guides.depth)))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.full((60, 80, 3), 30, np.uint8)
    pixels[15:45, 20:50] = (220, 180, 40)
    Image.fromarray(pixels).save(tmp_path / "shapes.png")
    return tmp_path / "shapes.png"


def made(room: Room, picture: Path, kind: str, **more: Any) -> tuple[Any, np.ndarray[Any, Any]]:
    answer = control_map.make_map(MakeControlMap(os.fsencode(picture), kind, **more), room)
    with Image.open(answer.path) as opened:
        return answer, np.asarray(opened.convert("RGB"))


def test_canny_is_opencvs(room: Room, picture: Path) -> None:
    answer, found = made(room, picture, "canny", low=50, high=120)
    with Image.open(picture) as opened:
        expected = cv2.Canny(np.asarray(opened), 50, 120)
    assert expected.any()
    assert np.array_equal(found, np.repeat(expected[:, :, None], 3, axis=2))
    assert (answer.width, answer.height, answer.method, answer.cached) == (80, 60, "canny/50-120", False)


def test_a_map_is_made_once_for_a_content_and_its_parameters(
    room: Room, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, ...]] = []
    real = edge_maps.canny

    def counted(*given: Any) -> Any:
        calls.append(given)
        return real(*given)

    monkeypatch.setattr(edge_maps, "canny", counted)
    first, pixels = made(room, picture, "canny")
    copy = tmp_path / "another name.png"
    copy.write_bytes(picture.read_bytes())
    second, again = made(room, copy, "canny")
    assert (first.cached, second.cached, len(calls)) == (False, True, 1)
    assert np.array_equal(pixels, again)
    made(room, picture, "canny", low=90)
    made(room, picture, "canny", size=(40, 32))
    assert len(calls) == 3
    Path(first.path).write_bytes(b"half a fi")
    assert not made(room, picture, "canny")[0].cached
    with Image.open(picture) as opened:
        Image.fromarray(np.asarray(opened) // 2).save(picture)
    assert not made(room, picture, "canny")[0].cached


@pytest.mark.parametrize("kind", ["lineart", "softedge", "scribble"])
def test_edges_are_white_where_the_shape_ends_and_black_inside(room: Room, picture: Path, kind: str) -> None:
    _, found = made(room, picture, kind)
    near_the_edge = found[25:35, 14:27].max(axis=(1, 2))
    assert near_the_edge.min() > 120
    assert found[28:32, 33:37].max() < 60
    assert found[:5, 70:].max() < 60
    Image.new("RGB", (64, 64), "grey").save(picture)
    assert made(room, picture, kind)[1].max() == 0


def test_depth_is_the_models_with_near_in_white(room: Room, picture: Path, tiny_guides: TinyConditioningModels) -> None:
    answer, found = made(room, picture, "depth")
    model = DPTForDepthEstimation.from_pretrained(tiny_guides.depth)
    given = DPTImageProcessor.from_pretrained(tiny_guides.depth)(images=Image.open(picture), return_tensors="pt")
    with torch.no_grad():
        depth = torch.nn.functional.interpolate(model(**given).predicted_depth[:, None], (60, 80), mode="bicubic")[0, 0]
    scaled = (depth - depth.min()) / (depth.max() - depth.min()) * 255
    assert np.abs(found[:, :, 0] - scaled.numpy()).max() <= 1
    assert answer.method.startswith("depth/")
    assert made(room, picture, "depth")[0].cached
    assert room.pool.asked == ["depth map"]


def test_a_map_without_its_model_says_what_to_set(room: Room, picture: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"name one with \[control\] pose_model"):
        made(room, picture, "pose")
    with pytest.raises(IndexdError, match="nothing here makes normal maps"):
        made(room, picture, "normal")
    room.settings = replace(room.settings, control=ControlSpec(depth_model=str(tmp_path)))
    with pytest.raises(ModelUnavailable, match=r"holds no \.safetensors"):
        made(room, picture, "depth")


def test_pose_is_drawn_from_what_the_model_finds(room: Room, picture: Path, tmp_path: Path) -> None:
    (tmp_path / "pose").mkdir()
    file = write_pose_model(tmp_path / "pose")
    room.settings = replace(room.settings, control=ControlSpec(pose_model=str(file)))
    answer, found = made(room, picture, "pose")
    assert found.shape == (60, 80, 3)
    assert answer.method.startswith("pose/")
    assert room.pool.asked == ["pose map"]


def test_the_figure_has_openposes_joints() -> None:
    person = np.zeros((17, 3), np.float32)
    person[:, 2] = 1
    person[5, :2], person[6, :2], person[0, :2], person[15, 2] = (80, 60), (40, 60), (60, 30), 0.1
    figure = openpose_joints(person)
    assert (figure[0], figure[1], figure[2], figure[5]) == ((60, 30), (60, 60), (40, 60), (80, 60))
    assert figure[13] is None
    person[[1, 2, 3, 4, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16], 2] = 0
    canvas = draw_people([person], 128, 128)
    assert tuple(canvas[30, 60]) == (255, 0, 0)  # the nose
    assert canvas[60, 50].any()
    assert canvas[60, 70].any()
    assert canvas[45, 60].any()
    assert not canvas[90:].any()


def test_the_cache_is_bounded_and_drops_what_was_not_used(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    noise = [Image.fromarray(chance.integers(0, 256, (32, 32, 3)).astype(np.uint8)) for _ in range(3)]
    cache = ControlMapCache(tmp_path, 7500)
    paths = [cache.path("hash", number) for number in range(3)]
    for number in (0, 1):
        cache.put(paths[number], noise[number])
        os.utime(paths[number], (number + 1, number + 1))
    assert cache.get(paths[0]) is not None  # used now, so the other one is older
    cache.put(paths[2], noise[2])
    assert [path.exists() for path in paths] == [True, False, True]
    assert sorted(one.name for one in paths[0].parent.iterdir()) == sorted([paths[0].name, paths[2].name])
