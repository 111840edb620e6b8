"""`heori`, whose `lab models --quick` measures each setup for a shorter time."""

from heori.cli.app import app
from heori.lab import models

if __name__ == "__main__":
    models.WARM, models.QUICK_SPAN, models.QUICK_LEARN = 0.05, 0.3, 0.3
    app(prog_name="heori")
