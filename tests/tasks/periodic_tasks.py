"""Tasks that run by themselves, and a schedule of calls."""

from datetime import datetime

from heori import Cron, Every, current_job, task


@task(every=1, catch_up="all")
def tick() -> datetime | None:
    """Each second; returns which."""
    return current_job().scheduled_for


@task(cron="0 3 * * 1-5", timezone="Asia/Seoul", overlap=False)
def report() -> None:
    """On working days in Seoul."""


@task(queue="else")
def greet(name: str = "you") -> str:
    """Whom the schedule says."""
    return f"hello {name}"


schedule = [
    Every("1h", greet.s(name="all"), name="greetings"),
    Cron("@daily", greet, timezone="Europe/Berlin"),
]
