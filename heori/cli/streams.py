"""What becomes of a command whose output cannot be written: one place for all commands.

An answer that is lost changes nothing of what the command has done, and must not look like a
failure of it: a script would send its job again. So a command does its work to the end, and an exit
code of its own says that the answer is missing. A reader that has had enough, as `head` has, ends
the command at once and without a word, as it ends any program of a shell.
"""

import codecs
import errno
import io
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, TextIO

from heori.plain import say
from heori_common.descriptors import write_some

if TYPE_CHECKING:
    from typing_extensions import Buffer

# How a reader that has gone is noticed: of a pipe, a socket, a terminal that was closed.
_GONE = (errno.EPIPE, errno.ECONNRESET)
_HUNG_UP = errno.EIO
# Exit codes: the work is done, and its answer could not be written; nobody reads it any more, as
# shells tell it of any program (128 and the number of SIGPIPE).
UNTOLD, UNREAD = 3, 141
_DESCRIBE = "heori.describe"
# For terminals and pipes whose encoding is ASCII, as with LC_ALL=C.
_ALIKE = {
    "·": "-",
    "×": "x",
    "…": "...",
    "µ": "u",
    "█": "#",
    "━": "-",
    "╺": "-",
    "╸": "-",
    "✗": "x",
    "✓": "+",
}


def run(command: Callable[[], object]) -> NoReturn:
    """Run a command and end this process with its exit code, whatever its output is.

    Raises:
        SystemExit: with the exit code.
    """
    if sys.stdin is None:  # the descriptor was closed
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    answer = _StandardOutput(1)
    sys.stdout, sys.stderr = _text(answer, sys.stdout), _text(_StandardError(2), sys.stderr)
    code: str | int | None = 0
    try:
        try:
            command()
        finally:
            sys.stdout.flush()
    except SystemExit as ended:
        code = ended.code
    if answer.error is not None and not answer.unread:
        done = "" if code else "it is done, but "
        reason = f"the answer cannot be written to standard output: {answer.error.strerror}"
        say(f"heori: {done}{reason}", error=True)
        code = code or UNTOLD
    sys.exit(code)


class _StandardError(io.RawIOBase):
    """Standard error. What cannot be written there is left out."""

    def __init__(self, file: int) -> None:
        super().__init__()
        self._file = file

    def write(self, data: "Buffer") -> int:
        rest = whole = memoryview(data)
        try:
            while rest:
                rest = rest[write_some(self._file, rest) :]
        except OSError as error:
            self._failed(error)
        return len(whole)

    def _failed(self, error: OSError) -> None:
        pass

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return os.isatty(self._file)

    def fileno(self) -> int:
        return self._file


class _StandardOutput(_StandardError):
    """Standard output. What cannot be written there is told at the end, unless nobody reads it.

    Attributes:
        error: why nothing is written any more, if so.
        unread: whether that is because nobody reads it.
    """

    def __init__(self, file: int) -> None:
        super().__init__(file)
        self.error: OSError | None = None
        self.unread = False
        self._terminal = os.isatty(file)

    def write(self, data: "Buffer") -> int:
        return super().write(data) if self.error is None else memoryview(data).nbytes

    def _failed(self, error: OSError) -> None:
        self.error = error
        self.unread = error.errno in _GONE or (self._terminal and error.errno == _HUNG_UP)
        if self.unread:
            raise SystemExit(UNREAD)


def _text(raw: io.RawIOBase, before: object) -> TextIO:
    """A stream for text that does as the one before did; what its encoding lacks is described."""
    if not isinstance(before, io.TextIOWrapper):  # the descriptor was closed
        return io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", _DESCRIBE)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        before.encoding,
        _DESCRIBE,
        line_buffering=before.line_buffering or before.write_through,
    )


def _describe(error: UnicodeError) -> tuple[str | bytes, int]:
    """An error handler of codecs: something alike for what commands draw, escapes for the rest."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_ALIKE.get(c) or ascii(c)[1:-1] for c in lacking), error.end


codecs.register_error(_DESCRIBE, _describe)
