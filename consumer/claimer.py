"""Claims jobs when there is room for them, and waits, without polling, when there are none."""

import asyncio
import uuid
from collections.abc import Sequence

import structlog
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError

from common.broker import AsyncBroker
from common.protocol.commands import Commands
from common.protocol.job import Claim
from common.settings import Settings
from consumer.leases import Leases
from consumer.outage import Outage
from consumer.pool import Pool

log = structlog.get_logger()

# However quiet it is, look into the queues this often, in seconds: were a wake-up ever lost,
# jobs would be late and not forgotten.
LOOK = 1.0


class Claimer:
    """Pops and leases jobs for a pool."""

    def __init__(
        self,
        broker: AsyncBroker,
        commands: Commands,
        queues: Sequence[str],
        settings: Settings,
        consumer: str,
        *,
        leases: Leases,
        outage: Outage,
        pool: Pool,
        bell: "Doorbell",
    ) -> None:
        self._broker = broker
        self._commands = commands
        self._queues = queues
        self._settings = settings
        self._consumer = consumer
        self._leases = leases
        self._outage = outage
        self._pool = pool
        self._bell = bell
        self._stopping = False
        self._doubtful: str | None = None  # the token of a claim whose reply did not come

    def stop(self) -> None:
        """Make no further claim; one that is under way is brought to its end."""
        self._stopping = True
        self._pool.changed.set()
        self._bell.ring()

    async def run(self) -> None:
        """Claim until stopped."""
        while not self._stopping:
            wanted = self._pool.wanted()
            if not wanted:
                await self._pool.changed.wait()
                self._pool.changed.clear()
                continue
            self._bell.arm()
            claims = await self._claim(wanted)
            if claims is None:
                await self._bell.wait(LOOK)
            else:
                self._leases.add(claims)
                self._pool.dispatch(claims)

    async def _claim(self, wanted: int) -> list[Claim] | None:
        async def attempt() -> list[Claim] | None:
            if self._doubtful is not None:
                # Redis may have made a claim and not been able to say so. Its jobs would have
                # to wait for their leases to run out.
                await self._broker.execute(
                    self._commands.undo(
                        self._queues,
                        token=self._doubtful,
                        consumer=self._consumer,
                        max_deliveries=self._settings.max_deliveries,
                    )
                )
            token = self._doubtful = uuid.uuid4().hex[:16]
            claims = await self._broker.execute(
                self._commands.claim(
                    self._queues,
                    wanted,
                    lease=self._settings.lease,
                    consumer=self._consumer,
                    token=token,
                    max_payload=self._settings.max_payload,
                )
            )
            self._doubtful = None
            return claims

        try:
            return await self._outage.persist(attempt)
        except ResponseError as error:
            log.error("Redis refuses a claim", queues=self._queues, error=str(error))
            return None


class Doorbell:
    """Rings when a queue may have got a job: Redis' client tracking, over one connection.

    Reading a queue's length arms it; the first write to that queue, whoever makes it, sends one
    message. No id is at risk on the way, one connection watches all queues, and an idle
    consumer costs nothing. (Redis documentation, "Client-side caching", default mode.)
    """

    def __init__(self, broker: AsyncBroker, commands: Commands, queues: Sequence[str]) -> None:
        self._broker = broker
        self._lengths = [("LLEN", commands.keys.queue(queue)) for queue in queues]
        self._rung = asyncio.Event()
        self._connection: AbstractConnection | None = None

    async def listen(self) -> None:
        """Keep the connection and listen on it, for ever."""
        while True:
            connection = self._broker.connection()
            try:
                await connection.connect()  # type: ignore[no-untyped-call]
                await connection.send_command("CLIENT", "TRACKING", "ON")
                await connection.read_response()
                self._connection = connection
                self._rung.set()
                while True:
                    # None is a push, "something was written"; a number is the length we asked for.
                    length = await connection.read_response(timeout=None, push_request=True)
                    if length is None or length > 0:
                        self._rung.set()
            except (RedisError, OSError):
                await asyncio.sleep(LOOK / 2)  # the claimer looks by itself meanwhile
            finally:
                self._connection = None
                await connection.disconnect(nowait=True)

    def ring(self) -> None:
        """Ring by hand."""
        self._rung.set()

    def arm(self) -> None:
        """Forget earlier rings. Call it before looking into the queues."""
        self._rung.clear()

    async def wait(self, seconds: float) -> None:
        """Wait until it rings, or so long."""
        try:
            async with asyncio.timeout(seconds):
                for words in self._lengths:
                    if self._connection is not None:
                        await self._connection.send_command(*words)
                await self._rung.wait()
        except (TimeoutError, RedisError, OSError):
            return
