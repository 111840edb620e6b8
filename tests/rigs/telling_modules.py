"""`heori`, whose processes write what they have imported when they end.

HEORI_TEST_MODULES names the folder; each writes a file called by its pid.
"""

import atexit
import json
import os
import sys
from pathlib import Path

from heori.__main__ import main


def tell() -> None:
    """A worker does what a program does at its end, so it tells, too."""
    file = Path(os.environ["HEORI_TEST_MODULES"], str(os.getpid()))
    file.write_text(json.dumps(list(sys.modules)))


if __name__ == "__main__":
    atexit.register(tell)
    main()
