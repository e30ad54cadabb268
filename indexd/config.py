"""The settings file and the places on disk: text in, typed settings and absolute paths out."""

from __future__ import annotations

import getpass
import os
import re
import sys
import tempfile
import tomllib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from indexd.errors import SettingsError
from indexd.fs.private_files import current_user_id

if TYPE_CHECKING:
    from indexd_schemas.settings import Settings

SETTINGS_FILE_NAME = "indexd.toml"
# A Unix socket's path must fit in sockaddr_un: 108 bytes on Linux, 104 on macOS, with the closing NUL.
MAX_SOCKET_PATH_BYTES = 100


@dataclass(frozen=True, slots=True)
class ResolvedPaths:
    """Every path the program uses, absolute."""

    home: Path
    settings_file: Path
    index: Path
    thumbnails: Path
    cache: Path
    socket: Path
    token: Path
    lock: Path
    backups: Path
    inbox: Path
    output: Path
    lora_registry: Path
    templates: Path
    wildcards: Path
    log: Path | None


@dataclass(frozen=True, slots=True)
class ClientPaths:
    """Where a client looks for the daemon: its Unix socket, and the file with the endpoint of its TCP port. No setting moves them."""

    socket: Path
    token: Path


@dataclass(frozen=True, slots=True)
class Config:
    """The settings together with the places they lead to."""

    settings: Settings
    paths: ResolvedPaths


def default_home() -> Path | None:
    """The folder of `INDEXD_HOME`, or None: the usual places of the system are used."""
    home = os.environ.get("INDEXD_HOME", "").strip()
    return Path(home).expanduser().absolute() if home else None


def client_paths(home: Path | None = None) -> ClientPaths:
    """The places of the daemon of `home`, found without reading the settings, which takes longer than most answers."""
    home = home.expanduser().absolute() if home is not None else default_home()
    return _client_paths(home)


def settings_path(home: Path | None) -> Path:
    """Where the settings file is, or would be written."""
    folder = home if home is not None else Path(platformdirs.user_config_dir("indexd", appauthor=False))
    return folder / SETTINGS_FILE_NAME


def read_config(home: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Config:
    """Settings and places. `home` None = `INDEXD_HOME`, else the system's usual places. Raises SettingsError.

    Every path in them is absolute, wherever it was written: a relative one means the folder of the settings file.
    """
    home = home.expanduser().absolute() if home is not None else default_home()
    file = settings_path(home)
    from indexd_schemas.local_paths import resolve_paths

    problems: list[str] = []
    settings = resolve_paths(read_settings(file, overrides or {}), file.parent, problems)
    _raise_problems(file, problems)
    places = _resolve_paths(settings, home, file)
    _raise_problems(file, _inbox_conflicts(settings, places))
    return Config(settings, places)


def default_config(home: Path | None = None) -> Config:
    """What would be in force without a settings file and without any variable of the environment but INDEXD_HOME."""
    home = home.expanduser().absolute() if home is not None else default_home()
    from indexd_schemas.settings import Settings

    settings = Settings.model_construct()
    return Config(settings, _resolve_paths(settings, home, settings_path(home)))


def read_settings(file: Path, overrides: Mapping[str, Any] | None = None) -> Settings:
    """The settings of one file (which may be absent), under the environment, under `overrides`."""
    from pydantic import ValidationError
    from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource
    from pydantic_settings import SettingsError as UnreadableVariable

    from indexd.settings_environment import EnvironmentSource
    from indexd_schemas.settings import Settings

    from_file = _read_toml(file)

    class Layered(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is the library's
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, EnvironmentSource(settings_cls), InitSettingsSource(settings_cls, from_file)

    try:
        return Layered(**(overrides or {}))
    except ValidationError as error:
        problems = [f"{_origin(file, problem)}: {_describe_problem(problem)}" for problem in error.errors()]
        raise SettingsError("\n".join(problems)) from None
    except UnreadableVariable as error:
        raise SettingsError(
            f"the environment cannot be used: {error}; a list or a table is written there as JSON"
        ) from None


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text("utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read the settings {file}: {error}") from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        advice = _quoting_advice(text, str(error)) or "run `indexd config sample` to see the form"
        raise SettingsError(f"cannot read the settings {file}: {error}; {advice}") from None


def _quoting_advice(text: str, error: str) -> str | None:
    """How to write the Windows path on the line that the error names; None where that line has none."""
    place = re.search(r"at line (\d+)", error)
    line = text.splitlines()[int(place[1]) - 1] if place and int(place[1]) <= len(text.splitlines()) else ""
    path = re.search(r'"([A-Za-z]:\\[^"\']*|\\\\[^"\']*)"', line)
    return f"put a path with backslashes in single quotes: '{path[1]}'" if path else None


def _origin(file: Path, error: Mapping[str, Any]) -> str:
    """Where the wrong value stands: an environment variable, else the file."""
    parts = [str(part).upper() for part in error["loc"]]
    names = {f"INDEXD_{'__'.join(parts[:length])}" for length in range(1, len(parts) + 1)}
    return next((name for name in os.environ if name.upper() in names), str(file))


def _raise_problems(file: Path, problems: Iterable[str]) -> None:
    text = "\n".join(f"{file}: {problem}" for problem in problems)
    if text:
        raise SettingsError(text)


def _inbox_conflicts(settings: Settings, places: ResolvedPaths) -> Iterator[str]:
    """A folder holds job files or images, never both."""
    inbox = os.path.normpath(places.inbox)
    if inbox == os.path.normpath(places.output):
        yield f"paths.inbox: {inbox} is also paths.output; choose another folder for job files"
    for number, root in enumerate(settings.roots):
        if inbox == os.path.normpath(root.path):
            yield f"roots.{number}.path: {inbox} is the inbox; choose another folder for images"


def _describe_problem(error: Mapping[str, Any]) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{where} is no setting; `indexd config sample` lists them all"
    given = error.get("input")
    shown = f" (got {given!r})" if isinstance(given, (str, int, float, bool)) else ""
    return f"{where}: {error['msg'].removeprefix('Value error, ')}{shown}"


def _resolve_paths(settings: Settings, home: Path | None, file: Path) -> ResolvedPaths:
    data = home or Path(platformdirs.user_data_dir("indexd", appauthor=False))
    cache = home / "cache" if home else Path(platformdirs.user_cache_dir("indexd", appauthor=False))
    client = _client_paths(home)
    paths = settings.paths
    index = _path_or_default(paths.index, data / "index.db")
    return ResolvedPaths(
        home=data,
        settings_file=file,
        index=index,
        thumbnails=_path_or_default(paths.thumbnails, cache / "thumbnails"),
        cache=cache,
        socket=client.socket,
        token=client.token,
        lock=index.with_name(f"{index.name}.lock"),
        backups=_path_or_default(settings.backup.folder, index.parent / "backups"),
        inbox=_path_or_default(paths.inbox, data / "inbox"),
        output=_path_or_default(paths.output, data / "output"),
        lora_registry=_path_or_default(settings.generate.lora_registry, file.with_name("loras.yaml")),
        templates=_path_or_default(paths.templates, data / "templates"),
        wildcards=_path_or_default(paths.wildcards, data / "wildcards"),
        # A service of Windows has nowhere else to speak; elsewhere the service manager keeps what it says on stderr.
        log=_path_or_default(settings.log.file, data / "indexd.log") if settings.log.file or os.name == "nt" else None,
    )


def _client_paths(home: Path | None) -> ClientPaths:
    data = home or Path(platformdirs.user_data_dir("indexd", appauthor=False))
    return ClientPaths(_short_socket((home or _runtime_folder()) / "indexd.sock"), data / "api-token")


def _runtime_folder(system: Path = Path("/run")) -> Path:
    """The folder of the socket. A service of the system has one of its own, for there may be no session of its user.

    systemd makes it before the daemon starts and takes it away when that ends (RuntimeDirectory= of indexd@.service).
    """
    if sys.platform != "win32":
        try:
            served = system / f"indexd-{getpass.getuser()}"
            if served.stat().st_uid == os.getuid():
                return served
        except (OSError, KeyError):
            pass
    with warnings.catch_warnings():
        # The library warns where there is no session; its fallback is right for us.
        warnings.simplefilter("ignore")
        return Path(platformdirs.user_runtime_dir("indexd", appauthor=False))


def _path_or_default(text: str, default: Path) -> Path:
    return Path(text) if text else default


def _short_socket(wanted: Path) -> Path:
    """The wanted path, or a short one of the same name every time where that would not fit in a socket address."""
    if len(os.fsencode(wanted)) <= MAX_SOCKET_PATH_BYTES:
        return wanted
    name = blake2b(os.fsencode(wanted), digest_size=8).hexdigest()
    user_id = current_user_id()
    user = os.environ.get("USERNAME", "user") if user_id is None else user_id
    return Path(tempfile.gettempdir()) / f"indexd-{user}" / f"{name}.sock"
