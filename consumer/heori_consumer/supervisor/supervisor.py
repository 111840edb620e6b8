"""One consumer, from its start to the end of its drain."""

import asyncio
import contextlib
import signal
from collections.abc import Coroutine, Iterator
from typing import Any

from prometheus_client import CollectorRegistry

from heori_common import logs
from heori_common.platform import give_back_blocks
from heori_common.settings import Settings
from heori_consumer.supervisor.context import Context, Role
from heori_consumer.supervisor.endpoint import MetricsEndpoint
from heori_consumer.supervisor.metrics import ConsumerMetrics
from heori_consumer.supervisor.options import ConsumerOptions
from heori_consumer.supervisor.registration import consumer_name
from heori_consumer.supervisor.roles import Roles

log = logs.get_logger(__name__)

LAST_CLAIM_S = 1.0  # for a claim that is under way when a drain begins
# Payloads and results pass through here, and their memory is of no use to what comes after them. To
# get it anew costs about as much as to copy it once.
LARGE_BLOCK_BYTES = 256_000
CANCEL_AGAIN_S = 0.1  # until a role that has not ended is cancelled once more


class Supervisor:
    """Starts the roles of a consumer, and ends them in order."""

    def __init__(self, settings: Settings, options: ConsumerOptions) -> None:
        self._context = Context(settings, options, consumer_name())
        self._roles = Roles.create(self._context)

    async def run(self) -> None:
        """Consume until SIGTERM, SIGINT or rq's shutdown command, then drain.

        Raises:
            RedisUnavailable: Redis is away at the start and `wait` is off.
            TasksBroken: the task modules cannot be imported.
            PortTaken: the port for /metrics is not to be had.
        """
        settings, roles = self._context.settings, self._roles
        give_back_blocks(LARGE_BLOCK_BYTES)
        registry = CollectorRegistry()
        registry.register(ConsumerMetrics(self._context, roles))
        endpoint = MetricsEndpoint(
            settings.metrics_host, settings.metrics_port, registry, roles.health.report
        )
        with self._signals(), contextlib.closing(endpoint):
            try:
                if await self._start(endpoint.url):
                    await self._consume()
            finally:
                await roles.pool.stop()
                await roles.scheduler.resign()
                await roles.registration.retire()
                await self._context.redis.close()

    async def _start(self, metrics_url: str) -> bool:
        """Register and start the workers; returns False when it is to stop before that is done."""
        options, registration = self._context.options, self._roles.registration
        announced = (
            self._context.retry.persist(lambda: registration.announce(metrics_url))
            if options.wait
            else registration.announce(metrics_url)
        )
        if not await self._unless_stopped(announced):
            return False
        if not await self._unless_stopped(self._roles.pool.start()):
            return False
        if options.model == "inline":
            log.warning(
                "inline is for debugging: tasks run in the supervisor's own process, where "
                "one that crashes or hangs takes everything with it"
            )
        log.info(
            "consuming",
            consumer=self._context.name,
            queues=",".join(options.queues),
            model=options.model,
            processes=options.processes,
            slots=options.slots,
            metrics=metrics_url,
        )
        return True

    async def _consume(self) -> None:
        """Have all roles do their duty until it is to stop.

        Raises:
            Exception: a role has failed, which is a defect; the others end with it.
        """
        with _first_error():
            async with asyncio.TaskGroup() as group:
                tasks = {
                    role: group.create_task(self._perform(role), name=type(role).__name__)
                    for role in self._roles.all()
                }
                try:
                    await self._context.stop.drain.wait()
                    await self._drain(tasks[self._roles.claimer])
                finally:
                    await _cancel(*tasks.values())

    async def _perform(self, role: Role) -> None:
        await role.run()
        if not self._context.stop.drain.is_set():
            raise RuntimeError(f"{type(role).__name__} has ended by itself")

    async def _drain(self, claiming: asyncio.Task[None]) -> None:
        """Stop claiming, give back what has not begun, let the rest finish, give back the rest."""
        settings, pool = self._context.settings, self._roles.pool
        log.info("draining", held=pool.held(), grace_seconds=settings.grace)
        self._roles.claimer.stop()
        await asyncio.wait([claiming], timeout=LAST_CLAIM_S)
        await _cancel(claiming)  # should Redis not answer
        pool.recall()
        try:
            async with asyncio.timeout(settings.grace):
                await self._until_idle()
        except TimeoutError:
            log.warning("grace is over; giving back what still runs", held=pool.held())
        await pool.stop()
        try:
            async with asyncio.timeout(settings.lease):
                await self._roles.acknowledger.settled()
        except TimeoutError:
            log.error("Redis is away; the leases will run out and the jobs be delivered again")
        log.info("stopped", consumer=self._context.name)

    async def _until_idle(self) -> None:
        """Wait until no job runs, or it is to stop at once."""
        pool = self._roles.pool
        at_once = asyncio.create_task(self._context.stop.at_once.wait())
        try:
            while pool.held() and not at_once.done():
                change = asyncio.create_task(pool.changed.wait())
                await asyncio.wait([change, at_once], return_when=asyncio.FIRST_COMPLETED)
                change.cancel()
                pool.changed.clear()
        finally:
            at_once.cancel()

    async def _unless_stopped(self, starting: Coroutine[Any, Any, None]) -> bool:
        """Await something unless it is to stop first; returns whether it was done."""
        start = asyncio.create_task(starting)
        stop = asyncio.create_task(self._context.stop.drain.wait())
        await asyncio.wait([start, stop], return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if start.done():
            start.result()
            return True
        await _cancel(start)
        return False

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """The first SIGTERM or SIGINT drains; the second stops at once."""
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGTERM, signal.SIGINT)
        for number in numbers:
            loop.add_signal_handler(number, self._context.stop.ask)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)


@contextlib.contextmanager
def _first_error() -> Iterator[None]:
    """Raise the error of one role as it is; it has ended the others."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from group


async def _cancel(*tasks: "asyncio.Task[None]") -> None:
    """Cancel, and again until it has taken effect: redis-py may swallow a cancellation.

    Its connections run parts of a command under a timeout of their own; a cancellation that
    arrives together with the reply is lost there (redis 8.1). A TaskGroup cancels only once.
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_S)
    await asyncio.gather(*tasks, return_exceptions=True)
