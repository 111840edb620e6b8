"""The supervisor: one process that runs no user code, keeps the leases and ends the workers.

Its roles, each a file: hear of work (`listener`), claim (`claimer`, `queue_order`), run (`pool`,
`roster`, `worker`, `execution`), settle (`acknowledger`), keep and reclaim leases (`leases`), drop
what was cancelled (`cancellation`), move due jobs (`scheduler`), watch and count (`gil`,
`queue_sampler`), be seen (`registration`, `metrics`, `endpoint`).
"""

import asyncio
import contextlib
import signal
from collections.abc import Iterator, Sequence
from typing import Any

import structlog
from prometheus_client import CollectorRegistry

from heori_common.machine import usable_cores
from heori_common.protocol.commands import Commands
from heori_common.protocol.keys import Keys
from heori_common.redis.client import AsyncRedisClient
from heori_common.settings import Settings
from heori_consumer.between.options import Kind, Policy, WorkerOptions
from heori_consumer.gil.sampler import Sampler
from heori_consumer.pool.pool import Pool
from heori_consumer.pool.roster import RosterOptions
from heori_consumer.supervisor.acknowledger import Acknowledger
from heori_consumer.supervisor.broken_keys import BrokenKeys
from heori_consumer.supervisor.cancellation import Cancellations
from heori_consumer.supervisor.claimer import Claimer
from heori_consumer.supervisor.endpoint import MetricsEndpoint
from heori_consumer.supervisor.leases import Leases
from heori_consumer.supervisor.listener import Listener, RemoteCommand
from heori_consumer.supervisor.metrics import ConsumerMetrics
from heori_consumer.supervisor.options import ConsumerOptions
from heori_consumer.supervisor.queue_order import QueueOrder
from heori_consumer.supervisor.queue_sampler import QueueSampler
from heori_consumer.supervisor.reaper import Reaper
from heori_consumer.supervisor.redis_retry import RedisRetry
from heori_consumer.supervisor.registration import Registration, consumer_name
from heori_consumer.supervisor.scheduler import Scheduler

log = structlog.get_logger()


class Supervisor:
    """One consumer, from its start to the end of its drain."""

    def __init__(self, settings: Settings, options: ConsumerOptions) -> None:
        self.name = consumer_name()
        self._settings = settings
        self._options = options
        self._commands = Commands(Keys(settings.key_prefix))
        self._stop = asyncio.Event()
        self._stop_now = asyncio.Event()

    async def run(self) -> None:
        """Consume until SIGTERM, SIGINT or rq's shutdown command, then drain.

        Raises:
            RedisUnavailable: Redis is away at the start and `wait` is off.
            TasksBroken: the task modules cannot be imported.
            PortTaken: the port for /metrics is not to be had.
        """
        settings, options = self._settings, self._options
        client = AsyncRedisClient(settings.redis_url)
        retry = RedisRetry()
        leases = Leases(client, self._commands, retry, settings.lease)
        acknowledger = Acknowledger(
            client,
            self._commands,
            leases,
            retry,
            settings.redis_url,
            self.name,
            settings.max_deliveries,
        )
        policy = Policy(
            settings.tasks,
            settings.allow,
            settings.accept,
            settings.max_payload,
            settings.middleware,
            settings.redis_url,
        )
        kind: Kind = "coroutines" if options.model == "asyncio" else "threads"
        pool = Pool(
            RosterOptions(
                options.processes,
                WorkerOptions(kind, options.slots, policy, options.json_logs),
                inline=options.model == "inline",
                max_jobs=options.max_jobs,
                max_rss=options.max_rss,
            ),
            options.batch,
            acknowledger.ended,
            acknowledger.given_back,
            acknowledger.progress,
        )
        leases.on_lost = leases.on_unlocked = pool.leases_lost
        broken = BrokenKeys()
        reaper = Reaper(
            client, self._commands, options.queues, self.name, settings.max_deliveries, broken
        )
        cancellations = Cancellations(client, self._commands, leases, retry, pool.cancel)
        listener = Listener(
            client,
            self._commands.keys,
            options.queues,
            self.name,
            on_canceled=cancellations.told,
            on_scheduled=lambda: scheduler.wake(),  # noqa: PLW0108 - it is made later
            on_command=lambda command: self._obey(command, pool, leases),
        )
        scheduler = Scheduler(
            client, self._commands, options.queues, self.name, listener.watch_scheduled
        )
        claimer = Claimer(
            client,
            self._commands,
            options.queues,
            settings,
            self.name,
            leases=leases,
            retry=retry,
            pool=pool,
            order=QueueOrder(len(options.queues), options.weights),
            listener=listener,
            broken=broken,
        )
        registration = Registration(client, self._commands, options.queues, self.name, broken)
        queue_sampler = QueueSampler(client, self._commands, options.queues, self.name)
        cores = usable_cores()
        sampler = Sampler(pool.roster.everyone, cores, settings.gil_source)
        registry = CollectorRegistry()
        registry.register(
            ConsumerMetrics(
                options.model,
                cores,
                client,
                pool,
                claimer,
                leases,
                reaper,
                scheduler,
                acknowledger,
                queue_sampler,
                sampler,
                retry,
                self._stop.is_set,
            )
        )

        def state() -> str:
            return "suspended" if claimer.suspended else "busy" if pool.held() else "idle"

        def health() -> tuple[bool, dict[str, Any]]:
            ready = len(pool.roster.open())
            well = not retry.away and ready == options.processes
            return well, {
                "consumer": self.name,
                "redis": "away" if retry.away else "up",
                "workers_ready": ready,
                "workers": options.processes,
                "draining": self._stop.is_set(),
                "suspended": claimer.suspended,
            }

        endpoint = MetricsEndpoint(settings.metrics_host, settings.metrics_port, registry, health)
        with self._signals(), contextlib.closing(endpoint):
            roles: list[asyncio.Task[None]] = []
            try:
                if not await self._unless_stopped(self._connect(registration, endpoint.url, retry)):
                    return
                if not await self._unless_stopped(pool.start()):
                    return
                if options.model == "inline":
                    log.warning(
                        "inline is for debugging: tasks run in the supervisor's own process, where "
                        "one that crashes or hangs takes everything with it"
                    )
                log.info(
                    "consuming",
                    consumer=self.name,
                    queues=",".join(options.queues),
                    model=options.model,
                    processes=options.processes,
                    slots=options.slots,
                    metrics=endpoint.url,
                )
                claim = asyncio.create_task(claimer.run())
                roles += [
                    asyncio.create_task(role)
                    for role in (
                        acknowledger.run(),
                        leases.keep(),
                        reaper.reap(),
                        scheduler.run(),
                        queue_sampler.run(),
                        sampler.run(),
                        client.follow(),
                        listener.listen(),
                        cancellations.run(),
                        registration.beat(state),
                    )
                ]
                await self._watch([claim, pool.roster.failure, *roles])
                await self._drain(claimer, claim, pool, acknowledger)
            finally:
                await pool.stop()
                await _cancel(*roles)
                await scheduler.resign()
                await registration.retire()
                await client.close()

    async def _connect(self, registration: Registration, metrics: str, retry: RedisRetry) -> None:
        if self._options.wait:
            await retry.persist(lambda: registration.announce(metrics))
        else:
            await registration.announce(metrics)

    async def _unless_stopped(self, starting: Any) -> bool:
        """Await something unless a signal comes first; returns whether it was done."""
        start = asyncio.ensure_future(starting)
        stop = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait([start, stop], return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if start.done():
            start.result()
            return True
        await _cancel(start)
        return False

    def _obey(self, command: RemoteCommand, pool: Pool, leases: Leases) -> None:
        """Do what somebody asks with ``rq.command``."""
        job = command.job_id
        match command.name:
            case "shutdown":
                log.info("rq asks for a shutdown")
                self._ask_to_stop()
            case "stop-job" | "stop-execution":
                here = command.name == "stop-job" or any(
                    claim.job_id == job and claim.execution == command.execution_id
                    for claim in leases.held()
                )
                if not (here and pool.stop_job(job)):
                    log.warning("asked to stop a job that does not run here", job=job)
            case "kill-horse":
                log.warning(
                    "kill-horse is not supported, as a worker here runs many jobs; "
                    "use stop-job (rq.command.send_stop_job_command)"
                )
            case _:
                log.warning("a command that is not known", command=command.name[:100])

    def _ask_to_stop(self) -> None:
        """The first time drain; the second stop at once."""
        if self._stop.is_set():
            self._stop_now.set()
        self._stop.set()

    async def _watch(self, roles: Sequence["asyncio.Future[None]"]) -> None:
        """Wait for a signal. A role that ends by itself is a defect: stop and say so."""
        stop = asyncio.create_task(self._stop.wait())
        waiting: list[asyncio.Future[Any]] = [stop, *roles]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        for role in done - {stop}:
            role.result()

    async def _drain(
        self, claimer: Claimer, claim: asyncio.Task[None], pool: Pool, acknowledger: Acknowledger
    ) -> None:
        """Stop claiming, give back what has not begun, let the rest finish, give back the rest."""
        log.info("draining", held=pool.held(), grace_seconds=self._settings.grace)
        claimer.stop()
        await asyncio.wait([claim], timeout=1.0)
        await _cancel(claim)  # should Redis not answer
        pool.recall()
        hurry = asyncio.create_task(self._stop_now.wait())
        try:
            async with asyncio.timeout(self._settings.grace):
                while pool.held() and not hurry.done():
                    change = asyncio.create_task(pool.changed.wait())
                    await asyncio.wait([change, hurry], return_when=asyncio.FIRST_COMPLETED)
                    change.cancel()
                    pool.changed.clear()
        except TimeoutError:
            log.warning("grace is over; giving back what still runs", held=pool.held())
        hurry.cancel()
        await pool.stop()
        try:
            async with asyncio.timeout(self._settings.lease):
                await acknowledger.settled()
        except TimeoutError:
            log.error("Redis is away; the leases will run out and the jobs be delivered again")
        log.info("stopped", consumer=self.name)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """The first SIGTERM or SIGINT drains; the second stops at once."""
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGTERM, signal.SIGINT)
        for number in numbers:
            loop.add_signal_handler(number, self._ask_to_stop)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)


async def _cancel(*roles: "asyncio.Future[Any]") -> None:
    """Cancel, and again until it has taken effect: redis-py may swallow a cancellation.

    Its connections run parts of a command under a timeout of their own; a cancellation that
    arrives together with the reply is lost there (redis 8.1).
    """
    pending = {role for role in roles if not role.done()}
    while pending:
        for role in pending:
            role.cancel()
        _, pending = await asyncio.wait(pending, timeout=0.1)
    await asyncio.gather(*roles, return_exceptions=True)
