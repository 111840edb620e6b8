"""`python -m heori` is `heori`."""

from heori.cli import app

app(prog_name="heori")
