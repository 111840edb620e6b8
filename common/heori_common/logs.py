"""One log, on standard error: for people on a terminal, as JSON for everything else.

    Heori's modules ─▶ loggers below "heori" ──────────────┐
    tasks ─▶ structlog, as long as they do not set it up ──┼─▶ one handler ─▶ one write a line
    tasks, libraries ─▶ logging, what nothing else shows ──┘

structlog is set up when a task imports it; lines for people are drawn by it, too. With all that it
imports, it would take a tenth of a consumer's memory, and of the time of its start.

So it is in Heori's own programs, which call `configure`. In an application Heori sets nothing up:
its loggers are standard ones, as any library's, and the application decides what becomes of them.
"""

import functools
import importlib
import io
import json
import logging
import os
import sys
import threading
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from heori_common.importing import when_imported
from heori_common.loggers import are_apart, move_apart, standard_logger
from heori_common.printable import LINES, printable

if TYPE_CHECKING:
    from structlog.typing import EventDict, ExcInfo

# In the environment, for the forkserver, which imports the tasks before it can be told anything.
FORM = "HEORI_LOG_FORM"


class Layout(NamedTuple):
    """How lines look that are no JSON, where somebody has said so.

    Attributes:
        line: as `logging.Formatter` reads it, such as ``%(asctime)s %(message)s``; empty for ours.
        time: as `time.strftime` reads it.
        config: a module whose DICT_CONFIG `logging.config.dictConfig` is given, for all loggers but
            Heori's own; empty for none.
    """

    line: str = ""
    time: str | None = None
    config: str = ""


_OURS = Layout()


class EventLogger:
    """A logger for events with fields: ``log.warning("lease lost", job=job_id)``.

    A task that sets up structlog or logging changes nothing of it.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def log(self, level: int, event: str, *, exc_info: Any = None, **fields: Any) -> None:
        """Log an event.

        Args:
            exc_info: an exception, or True for the one that is being handled.
        """
        if not self._logger.isEnabledFor(level):
            return
        if are_apart():
            self._logger.log(level, "%s", event, exc_info=exc_info, extra={_FIELDS: fields})
        else:
            words = " ".join([event, *(f"{name}={value!r}" for name, value in fields.items())])
            self._logger.log(level, "%s", words, exc_info=exc_info)

    debug = functools.partialmethod(log, logging.DEBUG)
    info = functools.partialmethod(log, logging.INFO)
    warning = functools.partialmethod(log, logging.WARNING)
    error = functools.partialmethod(log, logging.ERROR)
    critical = functools.partialmethod(log, logging.CRITICAL)
    exception = functools.partialmethod(log, logging.ERROR, exc_info=True)


def get_logger(module: str) -> EventLogger:
    """The logger of a module."""
    return EventLogger(standard_logger(module))


# The attribute of a record that has the fields of an event of ours; and those of any record.
_FIELDS = "heori_fields"
_OF_RECORDS = {*vars(logging.makeLogRecord({})), "message", "asctime", _FIELDS}


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """What a record tells beside its message."""
    if (ours := vars(record).get(_FIELDS)) is not None:
        return dict(ours)
    return {name: value for name, value in vars(record).items() if name not in _OF_RECORDS}


def configure(*, as_json: bool, level: str, layout: Layout | None = None) -> None:
    """Set this process up as a program of Heori's, before it imports any task; once.

    What tasks set up afterwards, in structlog or in logging, is theirs.

    Args:
        as_json: whether every line is JSON, or for people to read.
        level: of the least that is shown.
        layout: what else was said.
    """
    global _handler
    if are_apart():  # the forkserver has done it for its workers, before it imported the tasks
        return
    layout = layout or _OURS
    os.environ[FORM] = json.dumps([as_json, level, layout])
    number = logging.getLevelNamesMapping()[level.upper()]
    handler = _handler = _Handler(_formatter(as_json=as_json, layout=layout))
    heori = move_apart(handler, number)
    _serve_logging(handler, number)
    when_imported("structlog", lambda _: _serve_structlog(heori, number))
    if as_json:
        _catch_uncaught()
    if layout.config:
        from logging.config import dictConfig  # noqa: PLC0415 - few say it, and it imports much

        dictConfig(importlib.import_module(layout.config).DICT_CONFIG)


def configure_as_parent() -> None:
    """Set this process up as the one that has started it; if that is a program of Heori's.

    A fork of it is set up already, and goes on with a standard error of its own.
    """
    if _handler is not None:
        _handler.setStream(sys.stderr)
    elif form := os.environ.get(FORM):
        as_json, level, layout = json.loads(form)
        configure(as_json=as_json, level=level, layout=Layout(*layout))


def _formatter(*, as_json: bool, layout: Layout = _OURS) -> logging.Formatter:
    if layout.line:
        return _laid_out(layout)
    return _Json() if as_json else _drawn_by_structlog(as_json=False)


class _Json(logging.Formatter):
    """Makes each record a JSON value in a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        if _is_structlogs(record):
            return _drawn_by_structlog(as_json=True).format(record)
        told = _merged() | _fields(record)
        told |= {
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        }
        if record.stack_info:
            told["stack"] = record.stack_info
        if record.exc_info and record.exc_info[1] is not None:
            told["exception"] = "".join(traceback.format_exception(record.exc_info[1])).rstrip("\n")
        return json.dumps(told, default=repr)


def _is_structlogs(record: logging.LogRecord) -> bool:
    return isinstance(record.msg, dict) and hasattr(record, "_logger")


def _merged() -> dict[str, Any]:
    """What a task has bound to its context by structlog."""
    contextvars = sys.modules.get("structlog.contextvars")
    return {} if contextvars is None else contextvars.merge_contextvars(None, "", {})


@functools.cache
def _drawn_by_structlog(*, as_json: bool) -> logging.Formatter:
    import structlog  # noqa: PLC0415 - see above

    ending: list[Any] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if as_json
        else [_escape, structlog.dev.ConsoleRenderer(exception_formatter=_traceback)]
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.contextvars.merge_contextvars, _add_fields],
        processors=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=as_json),
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *ending,
        ],
    )


def _add_fields(_: Any, __: str, told: "EventDict") -> "EventDict":
    told.update(_fields(told["_record"]))
    return told


def _laid_out(layout: Layout) -> logging.Formatter:
    import structlog  # noqa: PLC0415 - see above

    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[_add_ours],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _escape,
            _in_words,
        ],
        fmt=layout.line,
        datefmt=layout.time,
    )


def _add_ours(_: Any, __: str, told: "EventDict") -> "EventDict":
    told.update(vars(told["_record"]).get(_FIELDS, {}))
    return told


def _in_words(_: Any, __: str, fields: "EventDict") -> str:
    event, traceback = fields.pop("event"), fields.pop("exception", None)
    line = " ".join([str(event), *(f"{name}={value}" for name, value in fields.items())])
    return f"{line}\n    {traceback}" if traceback else line


def _escape(_: Any, __: str, fields: "EventDict") -> "EventDict":
    """What is logged may be anybody's text; a terminal must not obey it, and it stays one line."""
    shown: EventDict = {}
    for name, value in fields.items():
        if name in ("exc_info", "_record"):
            shown[name] = value
            continue
        text = value if isinstance(value, str) else repr(value)
        shown[printable(name)] = _indented(text) if name in _OF_LINES else printable(text)
    return shown


_OF_LINES = ("event", "stack", "exception")


def _indented(text: str) -> str:
    """Text of several lines, none of which may pass for the next line of the log."""
    return printable(text, kept=LINES).replace("\n", "\n    ")


def _traceback(stream: TextIO, exc_info: "ExcInfo") -> None:
    import structlog  # noqa: PLC0415 - see above

    written = io.StringIO()
    structlog.dev.plain_traceback(written, exc_info)
    stream.write(_indented(written.getvalue()))


class _Handler(logging.StreamHandler[Any]):
    """Writes each line at once, as the processes of a consumer share the pipe."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(formatter)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Say in the log, and in its form, that a line could not be made."""
        if isinstance(sys.exc_info()[1], OSError):
            return  # nobody reads standard error any more
        message = "a line of this logger cannot be written"
        about = (record.pathname, record.lineno, message, (), sys.exc_info())
        self.stream.write(self.format(logging.LogRecord(record.name, logging.ERROR, *about)) + "\n")


class _LastResort(logging.Handler):
    """Shows what no other handler does, as logging's own handler of that name.

    So a task that has handlers of its own does not see its lines twice.
    """

    def __init__(self, handler: logging.Handler) -> None:
        super().__init__()
        self._handler = handler

    def emit(self, record: logging.LogRecord) -> None:
        logger: logging.Logger | None = logging.getLogger(record.name)
        while logger is not None:
            for other in logger.handlers:
                if other is not self and not isinstance(other, logging.NullHandler):
                    return
            logger = logger.parent if logger.propagate else None
        self._handler.handle(record)


_handler: _Handler | None = None  # of this process, once it is set up


def _serve_logging(handler: logging.Handler, level: int) -> None:
    last_resort = _LastResort(handler)
    logging.root.addHandler(last_resort)
    logging.root.setLevel(level)
    logging.captureWarnings(True)
    basic_config = logging.basicConfig

    @functools.wraps(basic_config)
    def configure_root(**options: Any) -> None:
        # It does nothing where the root logger has a handler, and this one is no task's.
        logging.root.removeHandler(last_resort)
        basic_config(**options)

    logging.basicConfig = configure_root


def _serve_structlog(heori: logging.Manager, level: int) -> None:
    import structlog  # noqa: PLC0415 - it has just been imported

    name_of = structlog.stdlib.LoggerFactory(ignore_frame_names=[__name__])

    def logger_of(*names: Any) -> logging.Logger:
        return heori.getLogger(name_of(*names).name)

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=logger_of,
        cache_logger_on_first_use=False,  # a task may still set it up
    )


def _catch_uncaught() -> None:
    """Have what nobody catches logged: by itself, Python writes it as text."""
    log = get_logger(__name__)

    def in_program(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        if issubclass(kind, Exception):
            log.critical("the program has failed", exc_info=(kind, error, traceback))
        else:  # Ctrl-C
            sys.__excepthook__(kind, error, traceback)

    def in_thread(failed: threading.ExceptHookArgs) -> None:
        if not issubclass(failed.exc_type, SystemExit):
            name = failed.thread.name if failed.thread else None
            exc_info = (failed.exc_type, failed.exc_value, failed.exc_traceback)
            log.error("a thread has failed", thread=name, exc_info=exc_info)

    def in_passing(ignored: "sys.UnraisableHookArgs") -> None:
        exc_info = (ignored.exc_type, ignored.exc_value, ignored.exc_traceback)
        what = ignored.err_msg or "an exception is ignored"
        log.error(what, object=repr(ignored.object), exc_info=exc_info)

    sys.excepthook, threading.excepthook, sys.unraisablehook = in_program, in_thread, in_passing
