"""`heori`, whose consumer takes no job back from behind a long one: what else does, shows."""

from heori.cli.app import app
from heori_consumer.pool import handle

if __name__ == "__main__":
    handle.STALL_S = 3600.0
    app(prog_name="heori")
