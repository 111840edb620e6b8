"""One consumer, from its start to the end of its drain."""

import asyncio
import atexit
import contextlib
import os
import signal
from collections.abc import Coroutine, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from heori_common import logs
from heori_common.platform import give_back_blocks
from heori_common.protocol.scripts import read_files, script
from heori_common.redis.errors import RedisUnavailable
from heori_common.redis.retries import QUIET_S
from heori_common.settings import Settings
from heori_consumer.supervisor.context import Context, Role
from heori_consumer.supervisor.endpoint import MetricsEndpoint
from heori_consumer.supervisor.eviction import warn_of_eviction
from heori_consumer.supervisor.notify import READY, STOPPING, notify
from heori_consumer.supervisor.options import ConsumerOptions
from heori_consumer.supervisor.registration import REGISTER, consumer_name
from heori_consumer.supervisor.roles import Roles
from heori_consumer.supervisor.slots import SlotReport
from heori_consumer.supervisor.stop_request import StopRequest

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

log = logs.get_logger(__name__)

LAST_CLAIM_S = 1.0  # for a claim that is under way when a drain begins
# Payloads and results pass through here, and their memory is of no use to what comes after them. To
# get it anew costs about as much as to copy it once. So it must be more than what asyncio has ready
# for each read from a socket, 256 KiB, however little comes.
LARGE_BLOCK_BYTES = 512 * 1024
LEAVE_S = 2.0  # for the others to be told at once that this consumer ends
CANCEL_AGAIN_S = 0.1  # until a role that has not ended is cancelled once more
# The scripts that the first job waits for; and the seconds until the first worker has been asked
# for, which begins meanwhile.
CALLED_FIRST = ("claim", "ack", "lead", "extend_leases")
ASK_FIRST_S = 0.001


class SupervisorFailed(RuntimeError):
    """A role has failed, which is a defect; the message says which, and the log why."""


class NothingToConsume(RuntimeError):
    """Settings keep this consumer from running what is there; the message says what mends that."""


class Supervisor:
    """Starts the roles of a consumer, and ends them in order."""

    def __init__(self, settings: Settings, options: ConsumerOptions) -> None:
        self._context = Context(settings, options, options.name or consumer_name())
        self._roles = Roles.create(self._context)
        self._failed: Role | None = None  # the first one

    @property
    def stop(self) -> StopRequest:
        """How to end it; only its own event loop may touch that."""
        return self._context.stop

    @property
    def held(self) -> int:
        """How many jobs it has now."""
        return self._roles.pool.held()

    @property
    def executed(self) -> int:
        """How many jobs it has run."""
        return self._roles.acknowledger.executed

    async def run(self) -> None:
        """Consume until a signal or rq's shutdown command, then drain.

        Raises:
            RedisUnavailable, RedisRefused: Redis is away at the start, or refuses everybody, and
                `wait` is off.
            TasksBroken: the task modules cannot be imported.
            PortTaken: the port for /metrics is not to be had.
            ForkserverBroken: no worker process can be started.
            SupervisorFailed: a role has failed; what it held has been given back.
            NothingToConsume: it has refused jobs of each of its queues, or a burst those of some;
                they are where they were.
        """
        settings, roles = self._context.settings, self._roles
        is_guest = self._context.options.guest is not None
        if not is_guest:
            give_back_blocks(LARGE_BLOCK_BYTES)
        roles.health.begin()
        read_files()
        endpoint = MetricsEndpoint(
            settings.metrics_host,
            settings.metrics_port,
            self._registry,
            ready=roles.health.report,
            alive=roles.health.alive,
            slots=SlotReport(self._context, roles).report,
        )
        signals = contextlib.nullcontext() if is_guest else self._signals()
        with signals, contextlib.closing(endpoint):
            try:
                if await self._start(endpoint.url):
                    await self._consume()
            finally:
                await roles.pool.stop()
                await self._take_leave()
                await self._context.redis.close()
        refusals = self._context.refusals
        if refusals.is_total:
            raise NothingToConsume(str(refusals))
        if refusals.reasons and self._context.options.burst:
            raise NothingToConsume(f"jobs are left that it may not run\n{refusals}")

    def _registry(self) -> "CollectorRegistry":
        from heori_consumer.supervisor.metrics import registry_of  # noqa: PLC0415 - at a scrape

        return registry_of(self._context, self._roles)

    async def _take_leave(self) -> None:
        """Give up what expires by itself, should Redis not answer in time."""
        roles = self._roles

        async def resign() -> None:
            await roles.dead_workers.finish()
            await roles.leadership.resign()
            await roles.scheduler.resign()
            await roles.ticker.retire()
            await roles.queue_sampler.resign()
            await roles.registration.retire()

        leaving = asyncio.create_task(resign())
        await asyncio.wait([leaving], timeout=LEAVE_S)
        if leaving.done():
            leaving.result()
        await _cancel(leaving)

    async def _start(self, metrics_url: str) -> bool:
        """Register and start the workers; returns False when it is to stop before that is done."""
        options, registration = self._context.options, self._roles.registration
        announced = (
            self._context.retry.persist(REGISTER, lambda: registration.announce(metrics_url))
            if options.wait
            else registration.announce(metrics_url)
        )
        silence = asyncio.get_running_loop().call_later(
            QUIET_S,
            partial(
                self._context.retry.failed, REGISTER, RedisUnavailable("it does not answer yet")
            ),
        )
        try:
            if not await self._unless_stopped(announced):
                return False
        finally:
            silence.cancel()
        if not await self._unless_stopped(warn_of_eviction(self._context)):
            return False
        if not await self._unless_stopped(self._start_workers()):
            return False
        if not await self._unless_stopped(self._roles.ticker.tell()):
            return False
        if short := options.files_short:
            log.warning("few open files", reason=short)
        if options.model == "inline" and options.guest is None:
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
        notify(READY)
        return True

    async def _start_workers(self) -> None:
        """Start them, and put together meanwhile what is called next: that takes some 20 ms."""

        async def prepare() -> None:
            await asyncio.sleep(ASK_FIRST_S)
            for name in CALLED_FIRST:
                script(name)
                await asyncio.sleep(0)

        preparing = asyncio.create_task(prepare())
        try:
            await self._roles.pool.start()
        finally:
            preparing.cancel()

    async def _consume(self) -> None:
        """Have all roles do their duty until it is to stop, or one of them has failed.

        Raises:
            SupervisorFailed: one has; what was held has been given back all the same.
        """
        roles = self._roles
        tasks = {
            role: asyncio.create_task(self._perform(role), name=type(role).__name__)
            for role in roles.all()
        }
        try:
            await self._context.stop.drain.wait()
            await self._drain(tasks[roles.claimer], tasks[roles.acknowledger])
        finally:
            self._context.retry.leaves = True
            await _cancel(*tasks.values())
        if self._failed is not None:
            raise SupervisorFailed(f"{type(self._failed).__name__} has failed, as the log tells")

    async def _perform(self, role: Role) -> None:
        try:
            await role.run()
            if not self._context.stop.drain.is_set():
                raise RuntimeError("it has ended by itself")
        except Exception as error:
            name = type(role).__name__
            log.critical(
                "the supervisor has failed; giving back what it holds", role=name, exc_info=error
            )
            self._failed = self._failed or role
            self._context.stop.ask_at_once()
            if role is self._roles.acknowledger:
                await role.run()  # once more, as only it can give back; it may send twice

    async def _drain(self, claiming: asyncio.Task[None], acknowledging: asyncio.Task[None]) -> None:
        """Stop claiming, give back what has not begun, let the rest finish, give back the rest."""
        settings, pool = self._context.settings, self._roles.pool
        notify(STOPPING)
        held = pool.held()
        self._roles.claimer.stop()
        await asyncio.wait([claiming], timeout=LAST_CLAIM_S)
        await _cancel(claiming)  # should Redis not answer
        pool.recall()
        log.info("draining", held=held, grace_seconds=settings.grace)
        until = asyncio.get_running_loop().time() + settings.grace
        try:
            async with asyncio.timeout_at(until):
                await self._until_idle()
        except TimeoutError:
            log.warning("grace is over; giving back what still runs", held=pool.held())
        await pool.stop(0.0 if self._context.stop.at_once.is_set() else until)
        settled = asyncio.create_task(self._roles.acknowledger.settled())
        await asyncio.wait(
            [settled, acknowledging], timeout=settings.lease, return_when=asyncio.FIRST_COMPLETED
        )
        if not settled.done():
            settled.cancel()
        if not self._roles.acknowledger.is_settled:
            trouble = self._context.retry.trouble or "Redis does not answer"
            reason = "its role has failed" if acknowledging.done() else str(trouble)
            log.error(
                "not all can be acknowledged; the leases will run out and jobs be delivered again",
                reason=reason,
            )
        self._context.failures.tell_all()
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
        if start.done() and not self._context.stop.drain.is_set():
            start.result()
            return True
        await _cancel(start)  # or it has failed, perhaps of the same signal to a worker
        return False

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Obey signals: see `docs/consumers.md`."""
        loop, stop = asyncio.get_running_loop(), self._context.stop
        obeyed = {
            signal.SIGTERM: stop.ask,
            signal.SIGINT: stop.ask,
            # Of a terminal that is closed. It never hurries: systemd sends it after SIGTERM.
            signal.SIGHUP: stop.drain.set,
            signal.SIGQUIT: stop.ask_at_once,
        }
        if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
            del obeyed[signal.SIGHUP]  # it was started by nohup
        for number, obey in obeyed.items():
            loop.add_signal_handler(number, obey)
        try:
            yield
        except BaseException:
            for number in obeyed:
                loop.remove_signal_handler(number)
            raise
        # All is told. A further signal ends what is left, should it hang, and changes no exit code,
        # which it would by its default, back in place while the interpreter goes.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, obeyed)
        for number in obeyed:
            loop.remove_signal_handler(number)
            signal.signal(number, lambda *_: os._exit(0))
            atexit.register(signal.signal, number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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
