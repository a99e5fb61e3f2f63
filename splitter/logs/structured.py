"""structlog for everybody: what happens to an event between `log.info(...)` and the output.

Owns: the chain of processors, both renderers, what the standard library's loggers become. Must not know: who logs what.
Invariants: every event goes through `visible` and through `storms`; no value of a local variable is ever printed; a failure
to log never becomes a failure of what was logged.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final

import orjson
import structlog

from splitter.logs import visible
from splitter.logs.output import Output
from splitter.logs.storms import Storms

Line = dict[str, Any]
_FIRST: Final = ("time", "level", "event")
JSON: Final = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z


def utc_now() -> datetime:
    return datetime.now(UTC)


class Logs:
    """Where the lines of this process go, and in which form.

    `level` as in `log_level`; `terminal`: for a person, in colours.
    """

    def __init__(
        self,
        fd: int | None,
        level: str,
        *,
        terminal: bool,
        clock: Callable[[], float] = monotonic,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.level: int = logging.getLevelNamesMapping()[level.upper()]
        self.output = Output(fd, self._report_lost)
        self.terminal = terminal
        self.render = _console if terminal else _json
        self._storms = Storms()
        self._suppressed = 0
        self._clock = clock
        self._now = now

    def admit(self, kind: str) -> bool:
        """Whether a line of this kind may be written now, or would be one too many."""
        self.tell()
        admitted = self._storms.admit(kind, self._clock())
        if not admitted:
            self._suppressed += 1
        return admitted

    def tell(self) -> None:
        """Write how many lines were held back, for each kind whose flood or whose second is over."""
        for kind, lines in self._storms.over(self._clock()):
            self.write("warning", "suppressed", kind=kind, lines=lines)

    def write(self, level: str, event: str, **fields: Any) -> None:
        """One line, past the limits."""
        self.output.write(self.render(self._line(level, event, fields)))

    def take_lost(self) -> dict[str, int]:
        """How many lines were not written since this was last asked, by why."""
        lost = self.output.take_lost()
        if self._suppressed:
            lost["suppressed"], self._suppressed = self._suppressed, 0
        return lost

    def take(self, _logger: object, level: str, event: MutableMapping[str, Any]) -> Any:
        """The end of structlog's chain: an event becomes a line, or nothing."""
        kind = str(event.pop("event", ""))
        if not self.admit(kind):
            raise structlog.DropEvent
        try:
            return self.render(self._line(level, kind, dict(event)))
        except Exception as error:  # a value that can't even be turned into text
            return self.render(self._line(level, kind, {"unwritable": f"{type(error).__name__}: {error}"}))

    def _line(self, level: str, event: str, fields: Line) -> Line:
        line: Line = {"time": self._now(), "level": level, "event": visible.of_text(event)}
        trace = fields.pop("exception", None)
        line |= {name: visible.of_value(value, name) for name, value in fields.items() if name not in _FIRST}
        if trace:
            line["exception"] = visible.of_lines(str(trace))
        return line

    def _report_lost(self, why: str, lines: int) -> bytes:
        return self.render(self._line("warning", "log_lines_lost", {"why": why, "lines": lines}))


def _json(line: Line) -> bytes:
    return orjson.dumps(line, option=JSON)


_renderer: Final = structlog.dev.ConsoleRenderer(
    timestamp_key="time",
    colors=not os.environ.get("NO_COLOR"),
    exception_formatter=structlog.dev.plain_traceback,
    sort_keys=False,
    pad_event_to=1,
)


def _console(line: Line) -> bytes:
    line = dict(line)
    line["time"] = line["time"].strftime("%H:%M:%S.%f")[:-3]
    return (_renderer(None, "", line) + "\n").encode()


class _Lines:
    """What structlog calls with a finished line: the same for every level."""

    def __init__(self, output: Output) -> None:
        self.msg = output.write

    log = debug = info = warn = warning = error = critical = fatal = failure = err = exception = (
        lambda self, line: self.msg(line)
    )  # fmt: skip


class _FromStandardLibrary(logging.Handler):
    """Records of libraries, as events."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            log = structlog.get_logger()
            log.log(record.levelno, "library", logger=record.name, message=record.getMessage(), exc_info=record.exc_info)
        except Exception:
            self.handleError(record)


def _hold_standard_descriptors() -> None:
    """Open what was closed of 0, 1 and 2: a socket that got such a number would be written to as standard output, and libuv
    aborts the process when it closes one."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free, which is this one


_of_this_process: list[Logs] = []


def current() -> Logs:
    """Where the lines of this process go. Raises IndexError before `configure`."""
    return _of_this_process[-1]


def configure(level: str, *, terminal: bool) -> Logs:
    """Set up logging for this process, to its standard output, if it has one. Once, and in a child after the fork."""
    _hold_standard_descriptors()
    fd = None if sys.stdout is None else sys.stdout.fileno()
    logs = Logs(fd, level, terminal=terminal)
    structlog.configure(
        processors=[structlog.processors.format_exc_info, logs.take],
        wrapper_class=structlog.make_filtering_bound_logger(logs.level),
        logger_factory=lambda *_: _Lines(logs.output),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = [_FromStandardLibrary()]
    root.setLevel(max(logs.level, logging.WARNING))
    logging.captureWarnings(capture=True)
    _of_this_process[:] = [logs]
    return logs
