"""Texts of settings files: the tables of models, and all that the toy world fills."""

from __future__ import annotations

from pathlib import Path

from indexd_toyworld.drawing import SMALLEST_FACE_PX
from indexd_toyworld.model_paths import ToyModels

TOY_TEMPLATE = """\
{models}
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


def model_tables(**paths: Path) -> str:
    """`[models.ROLE]` for each role with where its model lies."""
    return "".join(f'[models.{role}]\npath = "{path.as_posix()}"\n' for role, path in paths.items())


def pipeline_tables(sdxl: Path, *, bge: Path, clip_h: Path) -> str:
    """The same for every role, where the pipeline's own text encoders are clip_l and clip_g."""
    return model_tables(generator=sdxl, clip_l=sdxl, clip_g=sdxl, bge=bge, clip_h=clip_h)


def toy_settings(models: ToyModels) -> str:
    """Every role filled by the toy world's models; further keys of [generate] and further tables may follow it."""
    return TOY_TEMPLATE.format(
        models=pipeline_tables(models.sdxl, bge=models.bge, clip_h=models.clip_h),
        detector=models.detector.as_posix(),
        smallest=SMALLEST_FACE_PX,
        controlnet=models.controlnet.as_posix(),
        references=models.ip_adapter.parent.as_posix(),
        loras=models.loras.as_posix(),
        upscalers=models.upscaler.parent.as_posix(),
    )
