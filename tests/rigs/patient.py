"""`heori`, whose consumer takes no job back from behind a long one: what else does, shows.

While all slots are at work it soon looks whether there is a job to have ahead.
"""

from heori.cli.app import app
from heori_consumer.pool import handle
from heori_consumer.supervisor import claimer

if __name__ == "__main__":
    handle.STALL_S = 3600.0
    claimer.LOOK_EVERY_S = 0.2
    app(prog_name="heori")
