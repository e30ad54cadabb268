"""Parses a YAML file to plain data with the position of every key and value, or refuses it with one sentence.

Only the event stream of the YAML library is used: nothing is constructed, so nothing can run, and the walk stops at the
first event over a limit. Anchors, aliases, merge keys, tags and directives are refused: a job file needs none of them,
and with them a kilobyte can unfold to a minute of work. Plain scalars follow the core schema of YAML 1.2 (`no` is text).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from indexd.errors import JobRefused
from indexd.jobs.parsing.quoting import (
    SPECIAL_SIGNS,
    find_special_blank,
    first_sign,
    is_windows_path,
    quoting_advice,
    with_plain_blanks,
)

PROMPT_KEYS = ("prompt", "negative_prompt", "prompts")
MAX_BYTES = 256 * 1024
MAX_DEPTH = 20
MAX_EVENTS = 10_000
# The scanner spends up to 4 us a character and 5 us a line; with these every file is settled in well under half a second.
MAX_LINES = 5_000
MAX_LINE_CHARACTERS = 32_768

FieldPath = tuple[str | int, ...]
"""A place in the file by keys and indexes: `("control", 0, "image")`."""

_INT = re.compile(r"[-+]?[0-9]{1,30}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]{1,30}|[0-9]{1,30}(?:\.[0-9]{0,30})?)(?:[eE][-+]?[0-9]{1,4})?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SURROGATE_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
# The scanner looks 1024 characters ahead at every opening bracket, so a long run of them is found here, before it.
_TOO_DEEP = re.compile(rf"(?:[\[{{]\s{{0,8}}){{{MAX_DEPTH + 1}}}")
_CONSTANTS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


class Position(NamedTuple):
    """A place in the file, both counted from 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}"


class FilePosition(Position):
    """A place in another file than the job file."""

    file: str

    def __new__(cls, line: int, column: int, file: str) -> FilePosition:
        position = super().__new__(cls, line, column)
        position.file = file
        return position

    def __str__(self) -> str:
        return f"{self.file}, {super().__str__()}"


@dataclass(frozen=True, slots=True)
class YamlLimits:
    """How large a file of one kind may be; `noun` names it in sentences.

    `allows_list`: the file may be a list, which becomes the value of the key "".
    """

    noun: str = "job file"
    max_bytes: int = MAX_BYTES
    max_lines: int = MAX_LINES
    max_events: int = MAX_EVENTS
    allows_list: bool = False


JOB_FILE_LIMITS = YamlLimits()


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """A file as plain data (dict, list, str, int, float, bool, None) and where each key and value stands."""

    data: dict[str, Any]
    key_positions: dict[FieldPath, Position] = field(repr=False)
    value_positions: dict[FieldPath, Position] = field(repr=False)
    lines: tuple[str, ...] = field(default=(), repr=False)

    def line_of(self, path: FieldPath) -> str:
        """The line of the file on which the value at `path` begins; "" where the file has none."""
        position = self.value_position(path)
        is_own = not isinstance(position, FilePosition) and position.line <= len(self.lines)
        return self.lines[position.line - 1] if is_own else ""

    def key_position(self, path: FieldPath) -> Position:
        """Where the key at `path` stands, or the nearest thing around it."""
        return self._nearest_position(self.key_positions, path)

    def value_position(self, path: FieldPath) -> Position:
        """Where the value at `path` stands, or the nearest thing around it."""
        return self._nearest_position(self.value_positions, path)

    def _nearest_position(self, positions: dict[FieldPath, Position], path: FieldPath) -> Position:
        for length in range(len(path), 0, -1):
            mark = positions.get(path[:length]) or self.value_positions.get(path[:length])
            if mark is not None:
                return mark
        return Position(1, 1)


def parse_yaml(source: bytes, limits: YamlLimits = JOB_FILE_LIMITS) -> YamlDocument:
    """The document in `source`. Raises JobRefused with line, column and what to change."""
    text = _decode(source, limits)
    lines = tuple(text.splitlines())
    events = _CheckedEvents(text, lines, limits)
    start = next(events, None)
    if start is None and limits is not JOB_FILE_LIMITS:
        return YamlDocument({}, {}, {})
    if start is None:
        raise JobRefused("the file is empty; it needs at least `kind:` and `prompt:`")
    builder = _Builder(events, lines, limits.noun)
    if limits.allows_list and isinstance(start, SequenceStartEvent):
        data: dict[str, Any] = {"": builder.sequence(("",))}
    elif isinstance(start, MappingStartEvent):
        data = builder.mapping((), start)
    else:
        _refuse_special_blanks(lines)
        raise JobRefused(
            f"{_event_position(start)}: a {limits.noun} is a list of `key: value` lines; this begins with something else"
        )
    rest = next(events, None)
    if rest is not None:
        raise JobRefused(f"{_event_position(rest)}: a second document begins here; write one job a file")
    return YamlDocument(data, builder.key_positions, builder.value_positions, lines)


def _decode(source: bytes, limits: YamlLimits) -> str:
    if len(source) > limits.max_bytes:
        raise JobRefused(f"the file has {len(source)} bytes; a {limits.noun} has at most {limits.max_bytes}")
    if source.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise JobRefused("line 1, column 1: the file is UTF-16; save it as UTF-8")
    try:
        text = source.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = source.count(b"\n", 0, error.start) + 1
        column = len(source[source.rfind(b"\n", 0, error.start) + 1 : error.start].decode("utf-8", "replace")) + 1
        raise JobRefused(
            f"{Position(line, column)}: byte 0x{source[error.start]:02x} is not UTF-8; save it as UTF-8"
        ) from None
    lines = text.splitlines()
    if len(lines) > limits.max_lines:
        raise JobRefused(f"{Position(limits.max_lines + 1, 1)}: a {limits.noun} has at most {limits.max_lines} lines")
    long = next((number for number, line in enumerate(lines, 1) if len(line) > MAX_LINE_CHARACTERS), None)
    if long is not None:
        raise JobRefused(
            f"{Position(long, 1)}: the line has more than {MAX_LINE_CHARACTERS} characters; break it (use `|` or `>`)"
        )
    bad = _UNPRINTABLE.search(text)
    if bad is not None:
        raise JobRefused(
            f"{_position_at(text, bad.start())}: the character U+{ord(bad[0]):04X} cannot be used; remove it"
        )
    deep = _TOO_DEEP.search(text)
    if deep is not None:
        raise JobRefused(f"{_position_at(text, deep.start())}: brackets are nested more than {MAX_DEPTH} deep")
    return text


def _position_at(text: str, position: int) -> Position:
    return Position(text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position))


def _event_position(event: Any) -> Position:
    return Position(event.start_mark.line + 1, event.start_mark.column + 1)


class _CheckedEvents(Iterator[Any]):
    """The events that carry content; every limit and every forbidden thing is held here."""

    def __init__(self, text: str, lines: Sequence[str], limits: YamlLimits) -> None:
        self._lines = lines
        self._limits = limits
        self._events = iter(YAML(typ="safe", pure=True).parse(text))
        self._count = 0
        self._depth = 0
        self._last_line = 0

    def __next__(self) -> Any:
        while True:
            event = self._next_event()
            if isinstance(event, DocumentStartEvent) and (event.version or event.tags):
                raise JobRefused(
                    f"{_event_position(event)}: `%` directives are not used in {self._limits.noun}s; remove the line"
                )
            if isinstance(event, NodeEvent):
                self._check_node(event)
                return event
            if isinstance(event, (MappingEndEvent, SequenceEndEvent)):
                self._depth -= 1
                return event

    def _next_event(self) -> Any:
        try:
            event = next(self._events)
        except StopIteration:
            raise
        except MarkedYAMLError as error:
            _refuse_special_blanks(self._lines)
            raise JobRefused(_yaml_error_message(error, self._lines)) from None
        except YAMLError as error:
            raise JobRefused(f"this is not YAML: {str(error).splitlines()[0]}") from None
        except Exception:  # the library fails in many ways on broken input, with assertions among them
            line = self._lines[self._last_line] if self._last_line < len(self._lines) else ""
            raise JobRefused(f"{Position(self._last_line + 1, 1)}: this is not YAML; {quoting_advice(line)}") from None
        self._last_line = event.end_mark.line
        self._count += 1
        if self._count > self._limits.max_events:
            raise JobRefused(
                f"{_event_position(event)}: the file has more than {self._limits.max_events} YAML nodes; "
                "write many seeds as a range `a..b`"
            )
        return event

    def _check_node(self, event: Any) -> None:
        if isinstance(event, AliasEvent) or event.anchor is not None:
            raise JobRefused(
                f"{_event_position(event)}: anchors (&) and aliases (*) are not used in {self._limits.noun}s; "
                f"{quoting_advice(self._lines[event.start_mark.line])}"
            )
        if getattr(event, "tag", None) is not None:
            raise JobRefused(
                f"{_event_position(event)}: tags (!) are not used in {self._limits.noun}s; "
                f"{quoting_advice(self._lines[event.start_mark.line])}"
            )
        if isinstance(event, (MappingStartEvent, SequenceStartEvent)):
            self._depth += 1
            if self._depth > MAX_DEPTH:
                raise JobRefused(f"{_event_position(event)}: the file is nested more than {MAX_DEPTH} deep")


class _Builder:
    """Plain data from events; recursion is bounded by MAX_DEPTH."""

    def __init__(self, events: _CheckedEvents, lines: Sequence[str], noun: str) -> None:
        self._events = events
        self._lines = lines
        self._noun = noun
        self.key_positions: dict[FieldPath, Position] = {}
        self.value_positions: dict[FieldPath, Position] = {}

    def mapping(self, path: FieldPath, start: Any) -> dict[str, Any]:
        data: dict[str, Any] = {}
        self.value_positions.setdefault(path, _event_position(start))
        while not isinstance(event := next(self._events), MappingEndEvent):
            if not isinstance(event, ScalarEvent):
                line = self._lines[event.start_mark.line]
                advice = f"; {quoting_advice(line)}" if first_sign(line) in SPECIAL_SIGNS else ""
                raise JobRefused(f"{_event_position(event)}: a key must be a word, not a list or a mapping{advice}")
            name = _scalar_text(event)
            if name != name.strip():
                _refuse_special_blanks(self._lines)
            if name == "<<":
                raise JobRefused(f"{_event_position(event)}: merge keys (<<) are not used in {self._noun}s")
            here = (*path, name)
            if here in self.key_positions:
                raise JobRefused(
                    f"{_event_position(event)}: {_quote(name)} is a duplicate key (first at {self.key_positions[here]})"
                )
            self.key_positions[here] = _event_position(event)
            data[name] = self._value(here)
        return data

    def sequence(self, path: FieldPath) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self._events), SequenceEndEvent):
            items.append(self._node((*path, len(items)), event))
        return items

    def _value(self, path: FieldPath) -> Any:
        return self._node(path, next(self._events))

    def _node(self, path: FieldPath, event: Any) -> Any:
        self.value_positions[path] = _event_position(event)
        if isinstance(event, MappingStartEvent):
            return self.mapping(path, event)
        if isinstance(event, SequenceStartEvent):
            return self.sequence(path)
        self._refuse_misread_text(path, event)
        return _scalar(event)

    def _refuse_misread_text(self, path: FieldPath, event: ScalarEvent) -> None:
        """Refuse a text of which YAML silently reads only a part, or something else than stands there."""
        line = self._lines[event.start_mark.line] if event.start_mark.line < len(self._lines) else ""
        if event.style == '"' and is_windows_path(line):
            raise JobRefused(
                f"{_event_position(event)}: `\\` in double quotes begins an escape; {quoting_advice(line)}"
            )
        end = event.end_mark
        rest = self._lines[end.line][end.column :] if end.line < len(self._lines) else ""
        if not event.style and any(part in PROMPT_KEYS for part in path) and rest.lstrip().startswith("#"):
            raise JobRefused(
                f"{_event_position(event)}: YAML treats text after ` #` as a comment; {quoting_advice(line)}, "
                "or put the comment on a line of its own"
            )


def _scalar_text(event: ScalarEvent) -> str:
    # JSON writes a character above U+FFFF as two escapes (RFC 8259, section 7), which PyYAML does not join.
    value = _SURROGATE_PAIR.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), event.value)
    bad = _SURROGATE.search(value) or ("\0" in value and re.search("\0", value))
    if bad:
        raise JobRefused(f"{_event_position(event)}: the escape \\u{ord(bad[0]):04x} is no character; remove it")
    return value


def _scalar(event: ScalarEvent) -> Any:
    text = _scalar_text(event)
    if event.style:
        return text
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", "").lower())
    return text


def _quote(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")


def _refuse_special_blanks(lines: Sequence[str]) -> None:
    """Raise JobRefused where a no-break or wide blank stands in the place of a plain one."""
    for number, line in enumerate(lines, 1):
        column = find_special_blank(line)
        if column is not None:
            raise JobRefused(
                f"{Position(number, column + 1)}: the blank here is U+{ord(line[column]):04X}, not a plain one; "
                f"write the line with plain blanks: {with_plain_blanks(line)}"
            )


def _yaml_error_message(error: MarkedYAMLError, lines: Sequence[str]) -> str:
    mark = error.problem_mark or error.context_mark
    problem = str(error.problem or error.context or "this is not YAML").splitlines()[0]
    if mark is None:
        return f"this is not YAML: {problem}"
    where = f"{Position(mark.line + 1, mark.column + 1)}: "
    if "'\\t'" in problem:
        is_indentation = mark.line < len(lines) and not lines[mark.line][: mark.column].strip()
        return f"{where}{'the line begins with a tab' if is_indentation else 'a tab stands here'}; use spaces"
    marks = [one for one in (error.problem_mark, error.context_mark) if one is not None and one.line < len(lines)]
    at_fault = next((one for one in marks if first_sign(lines[one.line]) in SPECIAL_SIGNS), None)
    if at_fault is not None:
        line, sign = lines[at_fault.line], first_sign(lines[at_fault.line])
        reason = (
            "`\\` in double quotes begins an escape"
            if "escape" in problem
            else f"YAML reads `{sign}` at the start of a text as its own sign"
        )
        return f"{Position(at_fault.line + 1, at_fault.column + 1)}: {reason}; {quoting_advice(line)}"
    if "mapping values are not allowed" in problem:
        return f"{where}a second `:` in the line; {quoting_advice(lines[mark.line] if mark.line < len(lines) else '')}"
    if "could not find expected ':'" in problem:
        begins = error.context_mark or mark
        return f"{Position(begins.line + 1, begins.column + 1)}: a key without `:`; write `key: value`"
    return f"{where}the line cannot be read as `key: value`"
