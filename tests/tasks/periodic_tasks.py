"""Tasks that run by themselves, and a schedule of calls.

But for one they do so once a year: no test should see a tick because of the hour that it is.
"""

from datetime import datetime

from heori import Cron, Every, current_job, task


@task(every=1, catch_up="all")
def tick() -> datetime | None:
    """Each second; returns which."""
    return current_job().scheduled_for


@task(cron="0 3 1 1 *", timezone="Asia/Seoul", overlap=False)
def report() -> None:
    """At New Year in Seoul."""


@task(queue="else")
def greet(name: str = "you") -> str:
    """Whom the schedule says."""
    return f"hello {name}"


schedule = [
    Every("365d", greet.s(name="all"), name="greetings"),
    Cron("@yearly", greet, timezone="Europe/Berlin"),
]
