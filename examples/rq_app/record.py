"""Record in expected.json how the stories of the shop end with RQ's own workers."""

import os
import subprocess
import sys
from pathlib import Path

from heori_common.embedded import EmbeddedValkey

FOLDER = Path(__file__).parent
RQ = f"{sys.executable} -m rq.cli worker --quiet"
WORKERS = (f"{RQ} ordered shop", f"{RQ} --with-scheduler shop", f"{RQ} --serializer json json")


def endings(url: str) -> str:
    """Play them on this server; it is emptied."""
    return subprocess.run(
        [sys.executable, str(FOLDER / "play.py"), *WORKERS],
        env={**os.environ, "RQ_REDIS_URL": url},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    ).stdout


if __name__ == "__main__":
    with EmbeddedValkey() as server:
        (FOLDER / "expected.json").write_text(endings(server.url))
