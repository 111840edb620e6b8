"""Every role of a consumer, each a file beside this one, and which of them knows which."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from heori_common.platform import usable_cores
from heori_common.protocol.commands import ASKED, CANCELED, HANDED, LOOK, read_hand_over
from heori_common.settings import Model
from heori_consumer.between.options import Home, Kind, Policy, WorkerOptions
from heori_consumer.gil.sampler import Sampler
from heori_consumer.pool.guest import Guest
from heori_consumer.pool.pool import Pool
from heori_consumer.pool.roster import PoolOptions
from heori_consumer.supervisor.acknowledger import Acknowledger
from heori_consumer.supervisor.bounds import Bounds
from heori_consumer.supervisor.cancellation import Cancellation, CancellationWatch
from heori_consumer.supervisor.claimer import Claimer
from heori_consumer.supervisor.context import Context, Role
from heori_consumer.supervisor.dead_workers import DeadWorkers
from heori_consumer.supervisor.dependents import Dependents
from heori_consumer.supervisor.executions import Executions
from heori_consumer.supervisor.failover import Failover
from heori_consumer.supervisor.hand_overs import HandOvers
from heori_consumer.supervisor.health import Health
from heori_consumer.supervisor.intake import Intake
from heori_consumer.supervisor.janitor import Janitor
from heori_consumer.supervisor.leadership import Leadership
from heori_consumer.supervisor.lease_keeper import LeaseKeeper
from heori_consumer.supervisor.listener import Listener
from heori_consumer.supervisor.maintenance import Maintenance
from heori_consumer.supervisor.precedence import Precedence
from heori_consumer.supervisor.publication import Publication
from heori_consumer.supervisor.queue_sampler import QueueSampler
from heori_consumer.supervisor.queue_watch import QueueWatch
from heori_consumer.supervisor.reaper import Reaper
from heori_consumer.supervisor.recalls import Recalls
from heori_consumer.supervisor.registration import Registration
from heori_consumer.supervisor.remote_control import RemoteControl
from heori_consumer.supervisor.scheduler import Scheduler
from heori_consumer.supervisor.standstill import Standstill
from heori_consumer.supervisor.ticker import Ticker
from heori_consumer.supervisor.told import Told

if TYPE_CHECKING:
    from heori_consumer.supervisor.autoscaler import Autoscaler


@dataclass(frozen=True, slots=True)
class Roles:
    """The roles of one consumer. All but its health and its intake have one verb, `run`."""

    acknowledger: Acknowledger
    dependents: Dependents
    pool: Pool
    dead_workers: DeadWorkers
    listener: Listener
    queue_watch: QueueWatch
    intake: Intake
    claimer: Claimer
    lease_keeper: LeaseKeeper
    executions: Executions
    leadership: Leadership
    reaper: Reaper
    janitor: Janitor
    maintenance: Maintenance
    cancellation: Cancellation
    cancellation_watch: CancellationWatch
    recalls: Recalls
    scheduler: Scheduler
    ticker: Ticker
    failover: Failover
    queue_sampler: QueueSampler
    gil_sampler: Sampler
    autoscaler: "Autoscaler | None"  # of the model auto
    standstill: Standstill
    registration: Registration
    publication: Publication
    bounds: Bounds
    health: Health

    @classmethod
    def create(cls, context: Context) -> "Roles":
        """Make them, each after those that it calls."""
        leadership = Leadership(context)
        dependents = Dependents(context, leadership)
        acknowledger = Acknowledger(context, dependents)
        pool_options = _pool_options(context)
        dead_workers = DeadWorkers(context)

        def process_ended(process_id: str) -> None:
            dead_workers.ended(process_id)
            registration.tell_soon()

        def refused(queue: str, reason: str) -> None:
            context.refusals.add(queue, reason)
            registration.tell_soon()

        pool = Pool(
            pool_options,
            acknowledger,
            context.failures,
            context.beat,
            process_ended,
            refused,
            context.leases.claiming,
        )
        cancellation = Cancellation(context, pool.cancel)
        recalls = Recalls(context, pool)
        lease_keeper = LeaseKeeper(context, pool)
        precedence = Precedence(context, pool)
        intake = Intake(context, pool, precedence)
        hand_overs = HandOvers(intake, lease_keeper.hurry, begins_at_once=not pool_options.inline)

        def connected() -> None:
            leadership.connected()
            hand_overs.connected()
            registration.tell_soon()  # and so read what was asked meanwhile
            lease_keeper.hurry()
            cancellation.missed()

        def handed(*words: Any) -> None:
            hand_overs.told(read_hand_over(*words))
            pool.changed.set()

        listener = Listener(
            context.redis,
            context.commands.keys,
            context.name,
            on_connected=connected,
            on_told=Told(
                {
                    HANDED: handed,
                    CANCELED: cancellation.told,
                    ASKED: recalls.asked,
                    LOOK: lambda: registration.tell_soon(),  # noqa: PLW0108 - it is made below
                }
            ).hear,
            on_command=RemoteControl(context, pool).obey,
            backoff=context.retry.backoff(),
        )
        acknowledger.on_failed.append(pool.died.add)
        context.retry.on_other_server.append(listener.connect_anew)
        bounds = Bounds(context, pool, acknowledger)
        claimer = Claimer(
            context, pool, precedence, intake, hand_overs, listener, leadership, bounds
        )
        sampler = Sampler(
            pool.roster.everyone,
            usable_cores(),
            context.settings.gil_source,
            pool.occupied,
            context.beat,
        )
        health = Health(context, pool, claimer)
        standstill = Standstill(context, pool)
        registration = Registration(context, health.state, lambda: standstill.queues)
        reaper = Reaper(context, leadership, lease_keeper)
        if pool.died.heard:
            reaper.on_dead.append(pool.died.vanished)
        return cls(
            acknowledger,
            dependents,
            pool,
            dead_workers,
            listener,
            QueueWatch(context, leadership, listener),
            intake,
            claimer,
            lease_keeper,
            Executions(context, pool),
            leadership,
            reaper,
            Janitor(context, leadership),
            Maintenance(context, leadership, intake),
            cancellation,
            CancellationWatch(context, leadership, listener),
            recalls,
            Scheduler(context, leadership, listener),
            Ticker(context, leadership, lambda: pool.roster.entries),
            Failover(context),
            QueueSampler(context, leadership),
            sampler,
            _autoscaler(context, pool, sampler),
            standstill,
            registration,
            Publication(context, pool.roster),
            bounds,
            health,
        )

    def all(self) -> tuple[Role, ...]:
        """Those that run side by side, once the workers are ready."""
        return (
            self.acknowledger,
            self.dependents,
            self.pool,
            self.dead_workers,
            self.listener,
            self.queue_watch,
            self.claimer,
            self.lease_keeper,
            self.executions,
            self.leadership,
            self.reaper,
            self.janitor,
            self.maintenance,
            self.cancellation,
            self.cancellation_watch,
            self.recalls,
            self.scheduler,
            self.ticker,
            self.failover,
            self.queue_sampler,
            self.gil_sampler,
            *((self.autoscaler,) if self.autoscaler is not None else ()),
            self.standstill,
            self.registration,
            self.publication,
            self.bounds,
        )


def _autoscaler(context: Context, pool: Pool, sampler: Sampler) -> "Autoscaler | None":
    bounds = context.options.bounds
    if bounds is None:
        return None
    # The other models do without what it imports, half a megabyte.
    from heori_consumer.supervisor.autoscaler import Autoscaler  # noqa: PLC0415

    return Autoscaler(context, pool, sampler, bounds)


def _pool_options(context: Context) -> PoolOptions:
    settings, options = context.settings, context.options
    policy = Policy(
        settings.tasks,
        settings.allow,
        settings.accept,
        settings.max_payload,
        settings.unknown_wait,
        settings.middleware,
        settings.redis_url,
        settings.strict,
        settings.pickle,
        settings.records,
        context.name,
        options.exception_handlers,
        options.serializer,
    )
    kinds: dict[Model, Kind] = {"asyncio": "coroutines", "auto": "mixed"}
    bounds = options.bounds
    return PoolOptions(
        options.processes,
        WorkerOptions(
            kinds.get(options.model, "threads"),
            options.slots,
            settings.lend_slots,
            policy,
            options.json_logs,
            settings.log_level,
            _home(options.guest),
            coroutines=options.size.coroutines if bounds else 0,
            most_slots=bounds.max_slots if bounds else 0,
            most_coroutines=bounds.max_coroutines if bounds else 0,
        ),
        batch=options.batch,
        inline=options.model == "inline",
        preload=options.preload,
        grace=settings.grace,
        recycle_after=options.recycle_after,
        max_rss=options.max_rss,
        max_files=options.max_files,
        max_threads=options.max_threads,
        most_alone=options.most_alone,
        zygote=options.zygote,
        guest=options.guest,
    )


def _home(guest: Guest | None) -> Home:
    if guest is None:
        return "own"
    return "caller" if guest.call is not None else "copy"
