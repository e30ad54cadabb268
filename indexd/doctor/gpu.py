"""Checks the GPU: the driver, and torch in a separate process."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from indexd.config import Config
from indexd.doctor.finding import DoctorFinding, failed, ok, warning
from indexd_schemas.model_roles import ROLES

SMI_TIMEOUT_SECONDS = 20
TORCH_TIMEOUT_SECONDS = 120
_SMI_COMMAND = ("nvidia-smi", "--query-gpu=name,driver_version,memory.total,memory.used", "--format=csv,noheader")
_TORCH_SCRIPT = """
import json, torch
available = torch.cuda.is_available()
print(json.dumps({"version": torch.__version__, "built_for": torch.version.cuda or getattr(torch.version, "hip", None),
                  "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if available else []}))
"""


def check_gpu(config: Config) -> Iterator[DoctorFinding]:
    """Check the driver and torch if there is a GPU or the settings require one."""
    cuda_roles = sorted(role for role in ROLES if config.settings.models.role(role).device.startswith("cuda"))
    driver = Path("/proc/driver/nvidia/gpus").is_dir() or shutil.which("nvidia-smi") is not None
    if not driver and not cuda_roles:
        yield ok("gpu", "none found; models run on the CPU")
    elif not driver:
        text = f"the settings require cuda ({', '.join(cuda_roles)}), but there is no driver"
        yield failed("gpu", text, 'install the driver, or set device = "auto"')
    else:
        yield from check_driver(cuda_roles)


def check_driver(
    cuda_roles: list[str], run_command: Callable[[Sequence[str], float], str] | None = None
) -> Iterator[DoctorFinding]:
    """Check driver and torch. `run_command(command, timeout_seconds)` returns the output, or raises OSError."""
    run_command = run_command or _run_command
    try:
        gpus = [line.strip() for line in run_command(_SMI_COMMAND, SMI_TIMEOUT_SECONDS).splitlines() if line.strip()]
    except OSError as error:
        yield failed(
            "driver", f"the driver does not respond: {error}", "restart the machine, or install the driver again"
        )
        return
    yield ok("driver", "; ".join(gpus) or "it responds, and finds no GPU")
    try:
        torch = json.loads(run_command((sys.executable, "-c", _TORCH_SCRIPT), TORCH_TIMEOUT_SECONDS).splitlines()[-1])
    except (OSError, ValueError, IndexError) as error:
        yield warning("gpu", f"torch does not respond: {error}", "run `indexd models verify`")
        return
    if torch["gpus"]:
        yield ok("gpu", f"torch {torch['version']} finds {', '.join(torch['gpus'])}")
    elif torch["built_for"] is None:
        text = f"torch {torch['version']} is a CPU-only build"
        report = failed if cuda_roles else warning
        yield report("gpu", text, "install the build for your GPU: pip install torch torchvision (see pytorch.org)")
    else:
        text = f"torch {torch['version']} is built for {torch['built_for']} and finds no GPU: the driver is too old"
        report = failed if cuda_roles else warning
        yield report("gpu", text, "update the driver")


def _run_command(command: Sequence[str], seconds: float) -> str:
    try:
        completed = subprocess.run(list(command), capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise OSError(f"{command[0]} did not respond within {seconds:g} s") from None
    if completed.returncode:
        lines = (completed.stderr or completed.stdout).strip().splitlines()
        raise OSError(lines[-1] if lines else f"{command[0]} ended with {completed.returncode}")
    return completed.stdout
