"""Generates settings files: the model tables, and the complete settings of the toy world."""

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
    """A table `[models.ROLE]` with the model path of each role."""
    return "".join(f'[models.{role}]\npath = "{path.as_posix()}"\n' for role, path in paths.items())


def pipeline_tables(sdxl: Path, *, bge: Path, clip_h: Path) -> str:
    """The model tables of all roles; the text encoders of the SDXL pipeline are clip_l and clip_g."""
    return model_tables(generator=sdxl, clip_l=sdxl, clip_g=sdxl, bge=bge, clip_h=clip_h)


def toy_settings(models: ToyModels) -> str:
    """Settings in which the toy world's models fill every role. Further keys of [generate] and tables may follow."""
    return TOY_TEMPLATE.format(
        models=pipeline_tables(models.sdxl, bge=models.bge, clip_h=models.clip_h),
        detector=models.detector.as_posix(),
        smallest=SMALLEST_FACE_PX,
        controlnet=models.controlnet.as_posix(),
        references=models.ip_adapter.parent.as_posix(),
        loras=models.loras.as_posix(),
        upscalers=models.upscaler.parent.as_posix(),
    )
