"""Pose maps: an ultralytics pose model finds the joints of people, and they are drawn as stick figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from indexd.control_maps.openpose_skeleton import COCO_JOINTS, draw_people
from indexd.errors import ModelUnavailable
from indexd.models.detector import load_yolo
from indexd.models.model_identity import short_hash
from indexd.models.ultralytics_offline import predict

POSE_ROLE = "pose map"
_CONFIDENCE = 0.4
_IOU_THRESHOLD = 0.6
_MAX_PEOPLE = 50


class PoseModel:
    """A loaded model; `identity` names its file."""

    def __init__(self, model: Any, device: str, identity: str) -> None:
        self._model = model
        self._device = device
        self.identity = identity

    def render_map(self, image: Image.Image) -> Image.Image:
        """The people of an RGB image as stick figures on black, in its size."""
        [result] = predict(
            self._model,
            [image],
            conf=_CONFIDENCE,
            iou=_IOU_THRESHOLD,
            max_det=_MAX_PEOPLE,
            device=self._device,
        )
        if result.keypoints is None or result.keypoints.data.shape[1:] != (COCO_JOINTS, 3):
            raise ModelUnavailable(POSE_ROLE, f"the model gives no {COCO_JOINTS} joints of a person; a pose model does")
        people = [person.astype(np.float32) for person in result.keypoints.data.cpu().numpy()]
        return Image.fromarray(draw_people(people, image.width, image.height))


def load_pose_model(file: str, device: str, cache_folder: str) -> PoseModel:
    """An ultralytics pose model (.pt). Raises ModelUnavailable with the reason; code in the file is never run."""
    return PoseModel(
        load_yolo(Path(file), "pose", device, POSE_ROLE, cache_folder), device, pose_identity(file, cache_folder)
    )


def pose_identity(file: str, cache_folder: str) -> str:
    """What tells the maps of this model from those of another. Raises ModelUnavailable where there is no such file."""
    try:
        return f"pose/{short_hash(file, cache_folder)}"
    except OSError as error:
        raise ModelUnavailable(
            POSE_ROLE, f"{file} cannot be read ({error.strerror}); correct [control] pose_model"
        ) from error
