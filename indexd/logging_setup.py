"""The log of the daemon: to stderr and, where the settings name one, to a file; as sentences or as one JSON object a line."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
from collections.abc import Mapping
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TextIO

from indexd.errors import SettingsError
from indexd_schemas.settings import LogSettings

# journald reads a leading <N> as the priority of the line (sd-daemon(3)).
_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


# The log quotes file names and library errors, which must not control the reader's terminal.
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: at (seconds since the epoch), level, logger, text, and the traceback of an exception."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of one record."""
        line = {"at": record.created, "level": record.levelname, "logger": record.name, "text": record.getMessage()}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """`12:30:05 warning  watch: …`; `date` for a file that holds many days, no clock for a journal that has its own."""

    def __init__(self, *, time_format: str = "%H:%M:%S") -> None:
        super().__init__()
        self._time_format = time_format

    def format(self, record: logging.LogRecord) -> str:
        """The line of one record, and those of its traceback."""
        package = record.name.removeprefix("indexd.").split(".")[0]
        text = _CONTROL_CHARACTERS.sub(lambda sign: f"\\x{ord(sign[0]):02x}", record.getMessage())
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        if not self._time_format:
            return f"{package}: {text}"
        return f"{time.strftime(self._time_format, time.localtime(record.created))} {record.levelname.lower():7} {package}: {text}"


class JournalFormatter(logging.Formatter):
    """The lines of another formatter, each with the priority prefix that journald removes."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """journald makes each line an entry, so each needs its priority."""
        sign = f"<{_PRIORITY.get(record.levelno, 6)}>"
        return "\n".join(sign + line for line in self._inner.format(record).splitlines())


def is_journal_stream(stream: TextIO | None, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the stream leads to journald. The variable alone does not tell: child processes inherit it.

    See JOURNAL_STREAM in systemd.exec(5).
    """
    device, separator, inode = environment.get("JOURNAL_STREAM", "").partition(":")
    if stream is None or not separator:
        return False
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return (device, inode) == (str(found.st_dev), str(found.st_ino))


def set_up_logging(settings: LogSettings, *, file: Path | None = None) -> None:
    """Send every log record to stderr in the chosen form, and to `file` as well; libraries log from WARNING on.

    May be called again when the settings have changed. Raises SettingsError when the file cannot be opened.
    """
    as_json = settings.format == "json"
    handlers: list[logging.Handler] = []
    # A service of Windows, and pythonw, have no stderr at all.
    if sys.stderr is not None:
        stream = logging.StreamHandler(sys.stderr)
        journal = is_journal_stream(sys.stderr)
        inner: logging.Formatter = (
            JsonFormatter() if as_json else TextFormatter(time_format="" if journal else "%H:%M:%S")
        )
        stream.setFormatter(JournalFormatter(inner) if journal else inner)
        handlers.append(stream)
    if file is not None:
        handlers.append(
            _rotating_file_handler(
                settings, file, JsonFormatter() if as_json else TextFormatter(time_format="%Y-%m-%d %H:%M:%S")
            )
        )
    for old in logging.getLogger().handlers:
        old.close()
    logging.basicConfig(level=logging.WARNING, handlers=handlers, force=True)
    logging.getLogger("indexd").setLevel(settings.level)
    logging.getLogger("indexd_handlers").setLevel(settings.level)


def _rotating_file_handler(settings: LogSettings, file: Path, formatter: logging.Formatter) -> logging.Handler:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handler = RotatingFileHandler(
            file, maxBytes=settings.file_mib << 20, backupCount=settings.file_keep, encoding="utf-8", errors="replace"
        )
    except OSError as error:
        raise SettingsError(
            f"the log file {file} cannot be opened: {error.strerror or error}; correct [log] file in the settings"
        ) from None
    handler.setFormatter(formatter)
    return handler
