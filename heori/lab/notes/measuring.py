"""The process of one experiment: ``python -m heori.lab.notes.measuring NOTE SEED QUICK``.

It reports in JSON, one line at a time: how far it is, and at last what it has measured.
"""

import importlib
import json
import os
import select
import sys
from typing import Any

from heori.demo.processes import ChildFailed
from heori_common.embedded import EmbeddedValkeyError


def note_of(name: str) -> Any:
    """The module of a note."""
    return importlib.import_module(f"heori.lab.notes.{name.replace('-', '_')}")


def main() -> None:
    name, seed, quick = sys.argv[1:]
    _report(done=0.0)
    try:
        figures = note_of(name).measure(_step, seed=int(seed), quick=quick == "quick")
    except (ChildFailed, EmbeddedValkeyError) as error:
        sys.exit(str(error))
    _report(done=1.0, figures=figures)


def _step(done: float) -> None:
    readable, _, _ = select.select([sys.stdin], [], [], 0)
    if readable and not os.read(sys.stdin.fileno(), 1):
        os._exit(1)  # whoever has started it has gone, or was told to stop
    _report(done=done)


def _report(**record: Any) -> None:
    print(json.dumps(record), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
