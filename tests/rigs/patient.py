"""`heori`, whose consumer takes no job back from behind a long one: what else does, shows."""

from heori.cli.app import app
from heori_consumer.pool import pool

if __name__ == "__main__":
    pool.STALL = 3600.0
    app(prog_name="heori")
