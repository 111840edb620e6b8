"""`python -m heori` is `heori`."""

from heori.cli.app import app

app(prog_name="heori")
