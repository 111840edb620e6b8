"""Tasks that run by themselves, and a schedule of calls."""

from heori import Cron, Every, task


@task(every=1, catch_up="all")
def tick() -> None:
    """Each second."""


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
