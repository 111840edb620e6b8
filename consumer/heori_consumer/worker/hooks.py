"""Calls what the program has registered for the start and the end of each worker process."""

from heori_common import logs
from heori_common.worker_hooks import at_end, at_start, name_of

log = logs.get_logger(__name__)


class StartHookFailed(RuntimeError):
    """A function under `on_worker_start` has raised; the message says which, the cause what."""


def run_start_hooks() -> None:
    """Call all functions under `on_worker_start`.

    Raises:
        StartHookFailed: one has raised, whatever it was.
    """
    for function in at_start:
        try:
            function()
        except BaseException as error:
            raise StartHookFailed(f"on_worker_start: {name_of(function)} has failed") from error


def run_end_hooks() -> None:
    """Call all functions under `on_worker_end`, whatever one of them raises."""
    for function in reversed(at_end):
        try:
            function()
        except BaseException:  # the others are to be called, too
            log.exception("on_worker_end has failed", function=name_of(function))
