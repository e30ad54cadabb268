"""What the daemon says on stderr: sentences for a person, or one JSON object a line for a collector."""

from __future__ import annotations

import json
import logging
import re
import sys
import time

from indexd_schemas.settings import Log

# journald reads a leading <N> as the priority of the line (sd-daemon(3)).
_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


# File names and errors of libraries are quoted; none of them may move the cursor of whoever reads the log.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class JsonLines(logging.Formatter):
    """One JSON object a line: at (seconds since the epoch), level, room, text, and the traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of one record."""
        line = {"at": record.created, "level": record.levelname, "room": record.name, "text": record.getMessage()}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class Sentences(logging.Formatter):
    """`12:30:05 warning  watch: …`; under journald the priority instead of the clock."""

    def __init__(self, *, journal: bool) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        """The line of one record."""
        room = record.name.removeprefix("indexd.").split(".")[0]
        text = _CONTROL.sub(lambda sign: f"\\x{ord(sign[0]):02x}", record.getMessage())
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        if self._journal:
            return f"<{_PRIORITY.get(record.levelno, 6)}>{room}: {text}"
        return (
            f"{time.strftime('%H:%M:%S', time.localtime(record.created))} {record.levelname.lower():7} {room}: {text}"
        )


def set_up(settings: Log, *, journal: bool) -> None:
    """Send every log record to stderr in the chosen form; libraries speak from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if settings.json_lines else Sentences(journal=journal))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("indexd").setLevel(settings.level)
    logging.getLogger("indexd_handlers").setLevel(settings.level)
