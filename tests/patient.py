"""`heori`, whose consumer takes no job back from behind a long one: what else does, shows."""

from consumer import pool
from heori.cli import app

if __name__ == "__main__":
    pool.STALL = 3600.0
    app(prog_name="heori")
