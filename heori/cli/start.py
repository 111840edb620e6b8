"""Where every command begins."""

import sys

from heori.cli import apart
from heori.cli.ending import INTERRUPTED, REFUSED
from heori.plain import say
from heori_common.errors import InvalidSetting
from heori_common.in_fork import InFork


def run() -> None:
    """Run the command that this process was started with.

    Raises:
        SystemExit: with its exit code.
    """
    serve = None
    try:
        if sys.argv[1:2] == ["consume"]:
            # No other command needs what this imports.
            from heori.cli.consuming import consume  # noqa: PLC0415

            consume()
        else:
            apart.command()
    except InFork as forked:
        serve = forked.serve
    except InvalidSetting as error:  # found by whatever reads it
        say(f"heori: a setting does not fit: {error}", error=True)
        sys.exit(REFUSED)
    except KeyboardInterrupt:  # of what has not begun
        sys.exit(INTERRUPTED)
    if serve is not None:
        serve()
