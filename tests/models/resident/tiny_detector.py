"""A detector of the real architecture with weights by chance: what it finds means nothing, how it is run does."""

from __future__ import annotations

import json
import os
from pathlib import Path

from indexd.worker.child.bootstrap import OFFLINE_ENVIRONMENT

SIDE = 64
_LAYERS = {
    "scales": {"n": [0.33, 0.0625, 1024]},
    "backbone": [[-1, 1, "Conv", [64, 3, 2]], [-1, 1, "Conv", [128, 3, 2]], [-1, 1, "Conv", [256, 3, 2]]],
    "head": [[[2], 1, "Detect", ["nc"]]],
}


def write_detector(folder: Path, names: tuple[str, ...], eager: tuple[str, ...], seed: int = 0) -> Path:
    """Write a .pt file that finds the classes of `eager` nearly everywhere, and the others of `names` never."""
    os.environ |= {**OFFLINE_ENVIRONMENT, "YOLO_CONFIG_DIR": str(folder), "MPLCONFIGDIR": str(folder)}
    import torch
    from ultralytics import YOLO

    description = folder / "tiny_n.yaml"
    description.write_text(json.dumps({"nc": len(names), **_LAYERS}))
    torch.manual_seed(seed)
    built = YOLO(str(description), task="detect", verbose=False)
    built.model.names = dict(enumerate(names))
    built.model.args = {**built.model.args, "imgsz": SIDE}
    for branch in built.model.model[-1].cv3:
        branch[-1].bias.data[:] = torch.tensor([3.0 if name in eager else -12.0 for name in names])
        branch[-1].weight.data *= 3
    path = folder / f"tiny{seed}.pt"
    built.save(str(path))
    return path


def write_pose_model(folder: Path) -> Path:
    """Write a .pt file that finds persons with 17 joints nearly everywhere."""
    os.environ |= {**OFFLINE_ENVIRONMENT, "YOLO_CONFIG_DIR": str(folder), "MPLCONFIGDIR": str(folder)}
    import torch
    from ultralytics import YOLO

    description = folder / "tiny_pose_n.yaml"
    head = [[[2], 1, "Pose", ["nc", "kpt_shape"]]]
    description.write_text(json.dumps({"nc": 1, "kpt_shape": [17, 3], **_LAYERS, "head": head}))
    torch.manual_seed(0)
    built = YOLO(str(description), task="pose", verbose=False)
    built.model.names = {0: "person"}
    built.model.args = {**built.model.args, "imgsz": SIDE}
    for branch in built.model.model[-1].cv3:
        branch[-1].bias.data[:] = 3.0
    path = folder / "tiny-pose.pt"
    built.save(str(path))
    return path
