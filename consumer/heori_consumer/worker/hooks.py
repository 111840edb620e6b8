"""Calls what the program has registered for the start and the end of each worker process."""

import traceback

from heori_common import logs
from heori_common.worker_hooks import at_end, at_start, name_of

log = logs.get_logger(__name__)


class StartHookFailed(RuntimeError):
    """A function under `on_worker_start` has raised; the message says which.

    Attributes:
        details: a traceback of what it has raised.
    """

    def __init__(self, name: str, error: BaseException) -> None:
        super().__init__(f"on_worker_start: {name} has failed")
        ours = error.__traceback__
        theirs = ours.tb_next if ours is not None else None
        self.details = "".join(traceback.format_exception(type(error), error, theirs))


def run_start_hooks() -> None:
    """Call all functions under `on_worker_start`.

    Raises:
        StartHookFailed: one has raised, whatever it was.
    """
    for function in at_start:
        try:
            function()
        except BaseException as error:
            raise StartHookFailed(name_of(function), error) from error


def run_end_hooks() -> None:
    """Call all functions under `on_worker_end`, whatever one of them raises."""
    for function in reversed(at_end):
        try:
            function()
        except BaseException:  # the others are to be called, too
            log.exception("on_worker_end has failed", function=name_of(function))
