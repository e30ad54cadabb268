"""Settings with every role filled by the toy world's models."""

from __future__ import annotations

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

[generate]
lora_folders = ["{loras}"]
"""


def toy_settings(models: ToyModels) -> str:
    """The settings file's text for these models; further tables may follow it."""
    parts = {name: getattr(models, name).as_posix() for name in ("sdxl", "bge", "clip_h", "loras")}
    return SETTINGS.format(**parts)
