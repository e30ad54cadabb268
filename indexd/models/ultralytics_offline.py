"""ultralytics without network, without running code out of weight files, writing into one folder only, and leaving torch alone.

Left alone, the library resolves names when it is imported, sends usage figures, looks for newer versions of itself, installs
packages, fetches a font and weights for a check of its own, and writes settings under the home folder. What keeps it from
that are variables that it reads once, at its import: so they are set before, here and in every worker process.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from indexd.worker.child.bootstrap import LIBRARY_FOLDER_VARIABLES, OFFLINE_ENVIRONMENT

# ultralytics puts an opener of its own in its place, which looks for packages to install when a file is no image.
_PILLOW_OPEN = Image.open


def load_ultralytics(folder: Path) -> Any:
    """The module `ultralytics`, whose settings and caches go under `folder`. The first call in a process decides where.

    Raises RuntimeError when something else has imported it before: then it is too late to keep it quiet.
    """
    os.environ.update(OFFLINE_ENVIRONMENT)
    os.environ.setdefault("YOLO_VERBOSE", "false")
    for name in LIBRARY_FOLDER_VARIABLES:
        os.environ.setdefault(name, str(folder))
    Path(os.environ["YOLO_CONFIG_DIR"]).mkdir(parents=True, exist_ok=True)
    import ultralytics
    from ultralytics.utils import SAFE_LOAD, SETTINGS, USER_CONFIG_DIR

    Image.open = _PILLOW_OPEN
    if not SAFE_LOAD:
        raise RuntimeError("ultralytics was imported before safe loading was set; this process must start again")
    integrations = ("clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb")
    wanted = {"sync": False, "api_key": "", **dict.fromkeys(integrations, False)}
    if any(SETTINGS[name] != value for name, value in wanted.items()):
        SETTINGS.update(wanted)
    _install_font(Path(USER_CONFIG_DIR) / "Arial.ttf")
    return ultralytics


def predict(model: Any, images: Sequence[Image.Image], **options: Any) -> list[Any]:
    """What an ultralytics model says of RGB images, one result each.

    On a CPU the library sets torch's number of threads as it first predicts. Sums are then added up in another order, and
    an image that is made afterwards would not be the one made before, in its last bits: so it is set back.
    """
    import torch

    threads = torch.get_num_threads()
    try:
        return list(model.predict(list(images), verbose=False, save=False, **options))
    finally:
        torch.set_num_threads(threads)


def _install_font(path: Path) -> None:
    """Even offline the library asks the network for Arial unless a file of that name lies in its folder."""
    if not path.exists():
        import matplotlib

        shutil.copyfile(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", path)
