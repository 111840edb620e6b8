"""`heori`, whose `lab models --quick` measures each setup for a shorter time, and whose `up` says
how far it is from the beginning on: both keep all cores busy meanwhile."""

from heori.cli.app import app
from heori.demo import display
from heori.lab import models

if __name__ == "__main__":
    models.WARM, models.QUICK_SPAN, models.QUICK_LEARN = 0.05, 0.15, 0.3
    display.LINE_EVERY = 0.1
    app(prog_name="heori")
