"""Tasks that wait for other jobs, in each way in which a task can."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import as_completed, wait
from functools import cache

import redis

from heori import Mutex, Producer, RedisExecutor, current_job, group, task
from tests.tasks.sample_tasks import hold, process


@cache
def producer() -> Producer:
    """This process's own."""
    return Producer()


@task
def child(number: int, url: str = "") -> int:
    """What others wait for; counts its starts where it is told to."""
    if url:
        with redis.Redis.from_url(url, socket_timeout=None) as client:
            client.incr("children")
    return number * 2


@task(timeout=20)
def parent(number: int, url: str = "") -> int:
    """Waits for a job on its own queue."""
    return producer().submit(child, number, url).result() + 1


@task
async def parent_later(number: int, url: str = "") -> int:
    """The same, in a coroutine."""
    return await producer().submit(child, number, url) + 1


@task
def parent_of(number: int, queue: str) -> int:
    """Waits for a job on that queue."""
    return producer().options(queue=queue).submit(child, number).result() + 1


@task
def parent_of_two(number: int, queue: str) -> int:
    """Waits for two jobs on that queue, whichever comes first."""
    with RedisExecutor(queue=queue) as own:
        two = [own.submit(child, number) for _ in range(2)]
        wait(two)
    return two[1].result() + 1


@task
def merge_sort(numbers: list[int], depth: int) -> list[int]:
    """Sorts each half in a job of its own."""
    if depth == 0:
        return sorted(numbers)
    half = len(numbers) // 2
    halves = [(numbers[:half], depth - 1), (numbers[half:], depth - 1)]
    return merge(*group(producer().submit_many(merge_sort, halves)).results())


@task
async def merge_sort_later(numbers: list[int], depth: int) -> list[int]:
    """The same, in coroutines."""
    if depth == 0:
        return sorted(numbers)
    half = len(numbers) // 2
    halves = (numbers[:half], numbers[half:])
    return merge(
        *await asyncio.gather(
            *(producer().submit(merge_sort_later, each, depth - 1) for each in halves)
        )
    )


def merge(left: list[int], right: list[int]) -> list[int]:
    """Two sorted lists as one."""
    return sorted(left + right)


@cache
def executor() -> RedisExecutor:
    """One whose jobs nobody runs."""
    return RedisExecutor(queue="nobody")


def with_executor() -> None:
    """Leaves its block only when all futures are done."""
    with RedisExecutor(queue="nobody") as own:
        own.submit(child, 1)


WAITS: dict[str, Callable[[], object]] = {
    "result": lambda: producer().options(queue="nobody").submit(child, 1).result(),
    "results": lambda: group(
        producer().options(queue="nobody").submit_many(child, [1, 2])
    ).results(),
    "group.wait": lambda: group(
        producer().options(queue="nobody").submit_many(child, [1, 2])
    ).wait(),
    "future.result": lambda: executor().submit(child, 1).result(),
    "future.exception": lambda: executor().submit(child, 1).exception(60),
    "map": lambda: list(executor().map(child, [1, 2])),
    "as_completed": lambda: next(as_completed(executor().submit(child, n) for n in (1, 2))),
    "wait": lambda: wait(
        [executor().submit(child, n) for n in (1, 2)], return_when="ALL_COMPLETED"
    ),
    "full queue": lambda: producer().options(queue="full").submit_many(child, [1, 2]),
    "with executor": with_executor,
}


@task(timeout=1)
def wait_limited(how: str) -> None:
    """Waits for jobs that nobody runs, for longer than it may."""
    WAITS[how]()


@task
def wait_unlimited(how: str) -> None:
    """The same, until it is stopped."""
    WAITS[how]()


@task
def fill(numbers: list[int]) -> int:
    """Sends more to its own queue than there is room for; returns how many."""
    return len(producer().submit_many(child, numbers))


@task
def nest(depth: int) -> int:
    """Waits for itself, so deep."""
    return depth and 1 + producer().submit(nest, depth - 1).result()


@task
def die_at_first(url: str) -> int:
    """Takes its process, unless it has done so before."""
    with redis.Redis.from_url(url, socket_timeout=None) as client:
        runs = int(client.incr("runs"))
    if runs == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return runs


@task
def outlive(url: str) -> list[int]:
    """Waits for a job that takes their process; returns how often each was delivered."""
    runs = producer().options(key="the same").submit(die_at_first, url).result()
    return [runs, current_job().delivery]


@task
def wait_twice(url: str, key: str) -> list[int]:
    """In which processes two jobs ran that it waited for, and itself; is held between the two."""
    first = producer().submit(process).result()
    hold(url, key)
    return [first, os.getpid(), producer().submit(process).result()]


@task
def hold_and_wait(url: str) -> bool:
    """Holds a mutex while it waits for a job that tries to get it; returns whether that did."""
    with Mutex("held", url):
        return producer().submit(try_mutex, url).result()


@task
def try_mutex(url: str) -> bool:
    """Whether that mutex is to be had."""
    return Mutex("held", url).acquire(timeout=0)


@task
def wait_for_held(url: str, key: str) -> str:
    """Waits for a job that is held."""
    return producer().submit(hold, url, key).result()


@task
def ask_again_and_again() -> str:
    """Waits for a job as rq's documentation does."""
    handle = producer().submit(child, 1)
    while (status := handle.status()) != "finished":
        time.sleep(0.05)
    return status
