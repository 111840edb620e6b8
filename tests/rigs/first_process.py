"""Runs `heori` as PID 1 of a container is run: orphans come to it."""

from heori.__main__ import main
from heori_common.platform import adopt_orphans

if __name__ == "__main__":
    adopt_orphans()
    main()
