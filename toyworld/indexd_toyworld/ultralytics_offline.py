"""ultralytics without network, without running code out of weight files, and writing into one folder only.

Left alone, the library resolves names when it is imported, sends usage figures, looks for newer versions of itself,
fetches a font and weights for a check of its own, and writes settings under the home folder.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any


def load_ultralytics(folder: Path) -> Any:
    """The module `ultralytics`, whose settings and caches go under `folder`. First call in a process decides.

    Raises RuntimeError when something else has imported it before: then it is too late to keep it quiet.
    """
    if "ultralytics" in sys.modules and "ULTRALYTICS_SAFE_LOAD" not in os.environ:
        raise RuntimeError("ultralytics was imported before it could be told to stay offline")
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("ULTRALYTICS_SAFE_LOAD", "true")
    os.environ.setdefault("YOLO_OFFLINE", "true")
    os.environ.setdefault("YOLO_CONFIG_DIR", str(folder))
    os.environ.setdefault("YOLO_VERBOSE", "false")
    os.environ.setdefault("MPLCONFIGDIR", str(folder))
    import ultralytics
    from ultralytics.utils import SETTINGS, USER_CONFIG_DIR

    integrations = ("clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb")
    wanted = {"sync": False, "api_key": "", **dict.fromkeys(integrations, False)}
    if any(SETTINGS[name] != value for name, value in wanted.items()):
        SETTINGS.update(wanted)
    _place_font(Path(USER_CONFIG_DIR) / "Arial.ttf")
    return ultralytics


def _place_font(path: Path) -> None:
    """Even offline the library asks the network for Arial unless a file of that name lies in its folder."""
    if not path.exists():
        import matplotlib

        shutil.copyfile(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", path)
