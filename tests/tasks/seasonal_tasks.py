"""What an application once had sent by itself, and has no more."""

from heori import task


@task(cron="0 0 1 1 *", queue="seasons")
def new_year() -> None:
    """Once a year."""
