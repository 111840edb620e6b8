"""The functions as Heori's tasks; apart from the sender, so that workers load no more."""

from benchmarks import tasks
from benchmarks.work import WORK, WORK_ASYNC
from heori import task

for function in (
    *(tasks.nothing, tasks.carry, tasks.ask, tasks.fail_at_first),
    *(tasks.wait, tasks.compute, tasks.toil, tasks.sort),
    *WORK,
):
    task(queue="bench")(function)
for coroutine in (tasks.nothing_async, tasks.wait_async, *WORK_ASYNC):
    task(queue="bench")(coroutine)


@task(queue="bench")
def one_more(number: int) -> int:
    """A step of a chain, or a job of a group."""
    return number + 1


@task(queue="bench")
def add_up(numbers: list[int]) -> int:
    """What a group ends in."""
    return sum(numbers)
