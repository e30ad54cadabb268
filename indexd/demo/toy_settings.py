"""Settings with every role filled by the toy world's models."""

from __future__ import annotations

from indexd_toyworld.drawing import SMALLEST_FACE_PX
from indexd_toyworld.paths import ToyModels

SETTINGS = """\
[models.sdxl]
path = "{sdxl}"
[models.clip_l]
path = "{sdxl}"
[models.clip_g]
path = "{sdxl}"
[models.bge]
path = "{bge}"
[models.clip_h]
path = "{clip_h}"

[[faces.detectors]]
path = "{detector}"
min_size_px = {smallest}

[control]
folders = ["{controlnet}"]
reference_folders = ["{references}"]

[generate]
lora_folders = ["{loras}"]
upscaler_folders = ["{upscalers}"]
"""

_NAMES = ("sdxl", "bge", "clip_h", "detector", "controlnet", "loras")


def toy_settings(models: ToyModels) -> str:
    """The settings file's text for these models; further keys of [generate] and further tables may follow it."""
    parts = {name: getattr(models, name).as_posix() for name in _NAMES}
    parts |= {"references": models.ip_adapter.parent.as_posix(), "upscalers": models.upscaler.parent.as_posix()}
    return SETTINGS.format(**parts, smallest=SMALLEST_FACE_PX)
