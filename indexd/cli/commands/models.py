"""`indexd models`: lists roles, downloads hub models, and tests models."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from indexd.cli.support.printing import json_option, print_json, print_notice, print_text, progress
from indexd.cli.support.session import load_config
from indexd.errors import (
    EXIT_ERROR,
    EXIT_OK,
    EXIT_PARTLY_FAILED,
    DaemonNotResponding,
    DaemonNotRunning,
    IndexdError,
    ModelUnavailable,
    UsageError,
)
from indexd_schemas.model_roles import ROLES

if TYPE_CHECKING:
    from collections.abc import Callable

    from indexd.config import Config
    from indexd_schemas.api.responses import VerifiedModel

roles_argument = click.argument("roles", nargs=-1, type=click.Choice(ROLES), metavar="[ROLE]...")
# The detectors of [faces] are local files, so there is nothing to download.
verify_roles_argument = click.argument("roles", nargs=-1, type=click.Choice((*ROLES, "faces")), metavar="[ROLE]...")

# Hub folders contain the same weights in several forms (half precision, ONNX, other frameworks); download only these.
_TEXT_ENCODER_PATTERNS = ("model_index.json", "text_encoder/*", "text_encoder_2/*", "tokenizer/*", "tokenizer_2/*")
_DOWNLOAD_PATTERNS: dict[str, tuple[str, ...]] = {
    "generator": (*_TEXT_ENCODER_PATTERNS, "unet/*", "vae/*", "scheduler/*"),
    "clip_l": _TEXT_ENCODER_PATTERNS,
    "clip_g": _TEXT_ENCODER_PATTERNS,
    "bge": ("*.json", "*.txt", "*.safetensors", "1_Pooling/*"),
    "clip_h": ("*.json", "*.txt", "open_clip*.safetensors"),
}
_IGNORED_PATTERNS = (
    "*.fp16.*",
    "*.non_ema.*",
    "*.onnx*",
    "onnx/*",
    "openvino/*",
    "*.msgpack",
    "*.bin",
    "*.h5",
    "*.xml",
)


@click.group(short_help="List, download or test models.")
def models() -> None:
    """List, download or test models. Only `pull` ever downloads anything."""


@models.command("list")
@json_option
def list_models(as_json: bool) -> None:
    """Show whether each role is on, and if not, why; then the model files of the folders in [generate] and [control].

    A file that jobs cannot use is listed with the reason. `indexd loras` lists LoRAs.
    """
    from indexd.model_files import list_model_files
    from indexd.model_roles import role_states
    from indexd_schemas.api.responses import ModelList

    config = load_config()
    listed = ModelList(roles=role_states(config), files=list_model_files(config))
    if as_json:
        print_json(listed)
        return
    for role in listed.roles:
        print_text(f"{role.role:8} {'on' if role.on else 'off':4} {'' if role.on else 'because '}{role.detail}")
    for file in listed.files:
        contents = f"UNUSABLE: {file.problem}" if file.problem else file.description or "-"
        print_text(f"{file.kind:10} {file.name}  {contents}")


@models.command()
@roles_argument
def pull(roles: tuple[str, ...]) -> int:
    """Download the models that the settings name by hub name (`hub = …`).

    Without ROLE: all that are not on disk yet.
    """
    from indexd.model_roles import downloaded_model_folder

    config = load_config()
    wanted = {role: config.settings.models.role(role) for role in roles or ROLES}
    hubs = {role: model.hub for role, model in wanted.items() if model.hub and not model.path}
    for role in set(roles) - hubs.keys():
        raise UsageError(f'{role} names no hub model; set `hub = "…"` under [models.{role}] and leave `path` empty')
    if not hubs:
        print_notice("no role names a hub model; there is nothing to download")
        return EXIT_OK
    for hub in dict.fromkeys(hubs.values()):
        folder = downloaded_model_folder(config, hub)
        if folder.is_dir() and not roles:
            print_notice(f"{hub} is there: {folder}")
            continue
        print_notice(f"downloading {hub} to {folder}")
        download(hub, folder, _patterns(config, hub))
        print_text(str(folder))
    return EXIT_OK


def download(hub: str, folder: Path, patterns: Sequence[str]) -> None:
    """Download a hub model. `folder` appears complete or not at all; an interrupted download resumes."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    partial = folder if folder.is_dir() else folder.with_name(f".{folder.name}.partial")
    try:
        snapshot_download(
            hub, local_dir=partial, allow_patterns=list(patterns), ignore_patterns=list(_IGNORED_PATTERNS)
        )
        if not any(partial.rglob("*.safetensors")):
            raise IndexdError(f"{hub} holds no .safetensors weights; name another model, or a local path")
        if partial != folder:
            partial.rename(folder)
    except IndexdError:
        raise
    except Exception as error:
        # The hub client raises its own errors, those of its HTTP library, and OSError.
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise IndexdError(f"{hub} could not be downloaded: {reason}; run it again to go on where it stopped") from None


def _patterns(config: Config, hub: str) -> list[str]:
    """File patterns of all roles that use this hub model; they share one folder."""
    named = [role for role in ROLES if config.settings.models.role(role).hub == hub]
    return list(dict.fromkeys(pattern for role in named for pattern in _DOWNLOAD_PATTERNS[role]))


@models.command()
@verify_roles_argument
@json_option
def verify(roles: tuple[str, ...], as_json: bool) -> int:
    """Load models in a worker and run each once. Prints device, number format and vector length.

    Without ROLE: every role that is on. Exit code 5 when some failed, 1 when all did.
    """
    from indexd.model_roles import role_states
    from indexd_schemas.api.responses import VerifiedModel, VerifiedModels

    config = load_config()
    wanted = roles or tuple(state.role for state in role_states(config) if state.on)
    if not wanted:
        raise IndexdError("no role is on; `indexd models list` says why")
    outcomes: list[VerifiedModel] = []
    with _verifier(config) as verify_one, progress() as bar:
        task = bar.add_task("", total=len(wanted))
        for role in wanted:
            bar.update(task, description=f"loading {role}")
            try:
                outcome = verify_one(role)
            except (DaemonNotResponding, DaemonNotRunning):
                raise
            except IndexdError as error:
                detail = error.reason if isinstance(error, ModelUnavailable) else str(error)
                outcome = VerifiedModel(role=role, ok=False, detail=detail, seconds=0.0)
            outcomes.append(outcome)
            bar.advance(task)
    if as_json:
        print_json(VerifiedModels(models=outcomes))
    else:
        for outcome in outcomes:
            print_text(
                f"{outcome.role:8} {'ok' if outcome.ok else 'FAILED':7} {outcome.detail}  {outcome.seconds:.1f} s"
            )
    failed = sum(not outcome.ok for outcome in outcomes)
    return EXIT_OK if not failed else EXIT_ERROR if failed == len(outcomes) else EXIT_PARTLY_FAILED


@contextmanager
def _verifier(config: Config) -> Iterator[Callable[[str], VerifiedModel]]:
    """The daemon's workers if it runs, else our own; neither needs an index."""
    from indexd.api import model_checks
    from indexd.api.connect import find_daemon
    from indexd.api.operations import models
    from indexd.model_roles import worker_settings
    from indexd.worker.local_workers import LocalWorkers
    from indexd_schemas.api.requests import VerifyModelRequest

    remote = find_daemon(config)
    if remote is not None:
        yield lambda role: remote.call(models.verify_model, VerifyModelRequest(role=role))
        return
    workers = LocalWorkers(worker_settings(config))
    try:
        yield lambda role: model_checks.verify_model(config, workers, role)
    finally:
        workers.stop(2.0)
