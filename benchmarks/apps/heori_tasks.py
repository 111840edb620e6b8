"""The functions as Heori's tasks; apart from the sender, so that workers load no more."""

from benchmarks import tasks
from heori import task

for function in (
    *(tasks.nothing, tasks.ask, tasks.fail_at_first, tasks.wait, tasks.compute, tasks.toil),
):
    task(queue="bench")(function)
for coroutine in (tasks.nothing_async, tasks.wait_async):
    task(queue="bench")(coroutine)
