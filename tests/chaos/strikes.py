"""What is done to consumers just as something is sent to the one that is next in line.

Who that is can be read. So most strikes hit between a grant and its arrival: the next one is
stopped, killed or cut off, and then a job is sent.
"""

import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import msgpack
import psutil

from heori_common.protocol.keys import service_of
from heori_common.protocol.scripts import script
from tests.chaos.fleet import QUEUE, Fleet
from tests.chaos.kills import consumer_name
from tests.rigs.consumers import Consumer
from tests.rigs.proxy import Proxy
from tests.rigs.waiting import until

MOST_STRUCK = 5  # at once, those that start included
SHORTEST, LONGEST = 0.1, 3.0  # pauses, in seconds
SENT_AT_RESTART = 4  # jobs, or bursts
IN_FLIGHT = 0.003  # seconds after which what was just told has surely come
SENT_BEFORE = 0.3  # seconds after which what somebody sent has surely come
LAST_ARRIVAL = 0.2  # seconds for which a consumer that stops surely waits for what was told

# How a strike is chosen, by weight: of those that any consumer can have, and of those for one that
# is behind a proxy, or for one that is not.
STRIKES = {
    "SIGSTOP": 8,
    "SIGSTOP to all of it": 3,
    "stopped, then SIGKILL": 1,
    "stopped, then SIGKILL to all of it": 1,
    "SIGKILL in flight": 1,
    "SIGTERM in flight": 2,
}
DIRECT = {"pushes cut before": 2, "pushes cut in flight": 6}
PROXIED = {
    "pushes late": 5,
    "pushes lost": 5,
    "network away": 3,
    "network lost": 3,
    "claim lost": 4,
}
RESTART = "server killed"


@dataclass(eq=False)
class Member:
    """A consumer, by which way it reaches the server, and what is done to it just now."""

    consumer: Consumer
    proxy: Proxy | None
    name: str = ""  # once it consumes
    struck: str = ""
    is_gone: bool = False  # or about to


class Strikes:
    """Consumers of a fleet, some of them behind proxies, and what is done to them.

    Attributes:
        counts: strikes, by kind.
        in_flight: jobs that struck consumers held, as Redis knew it then: these may run twice.
        confirmed: jobs of consumers that were killed after Redis had known that they have them: a
            delivery of these counts.
    """

    def __init__(self, fleet: Fleet, chance: random.Random, proxies: Sequence[Proxy]) -> None:
        self._fleet = fleet
        self._chance = chance
        self._proxies = proxies
        self._members: list[Member] = []
        self._by_name: dict[str, Member] = {}
        self._killed: set[Member] = set()
        self._pending: list[tuple[float, Callable[[], None]]] = []  # ends of strikes
        service = service_of([QUEUE])
        self._offers, self._handed = fleet.keys.offers(service), fleet.keys.handed(service)
        self._leader = fleet.keys.leader(service)
        self.counts: Counter[str] = Counter()
        self.in_flight: set[str] = set()
        self.confirmed: set[str] = set()

    def start(self, number: int) -> None:
        """Start so many, the first of them behind the proxies, and wait until all are idle."""
        for n in range(number):
            self._start(self._proxies[n] if n < len(self._proxies) else None)
        self.complete()
        until(lambda: self._fleet.count(self._offers) == number)

    def complete(self) -> None:
        """Wait until those consume that were started."""
        for member in self._members:
            if not member.is_gone and not member.name:
                member.consumer.ready()
        self.look()

    def look(self) -> None:
        """End strikes whose time is over, and know who consumes by now."""
        now = time.monotonic()
        for pending in [each for each in self._pending if each[0] <= now]:
            self._pending.remove(pending)
            pending[1]()
        for member in self._members:
            if not member.name and (name := consumer_name(member.consumer)):
                member.name = name
                self._by_name[name] = member

    def calm(self) -> None:
        """End all that is done to them."""
        for _, end in self._pending:
            end()
        self._pending.clear()

    def drain(self) -> list[int]:
        """Have all end that were not killed; returns the exit codes that are not 0."""
        drained = [each.consumer for each in self._members if each not in self._killed]
        for consumer in drained:
            consumer.process.send_signal(signal.SIGTERM)
        return [code for each in drained if (code := each.join()) != 0]

    def next_in_line(self) -> Member | None:
        """Who has waited longest, as far as can be told."""
        offers = self._fleet.redis.zrange(self._offers, 0, 0)
        name = msgpack.unpackb(offers[0], raw=True)[0].decode() if offers else ""
        return self._by_name.get(name)

    def on(self, name: str) -> str:
        """What is done just now to the consumer of that name; nothing if that is empty."""
        member = self._by_name.get(name)
        return member.struck if member else ""

    def is_leader_struck(self) -> bool:
        """Whether it is, or there is none."""
        _, _, name = (self._fleet.redis.get(self._leader) or b"").decode().partition(" ")
        leader = self._by_name.get(name)
        return leader is None or leader.is_gone or bool(leader.struck)

    def choose(self, victim: Member) -> str:
        """What to do to it; nothing, when it or many others are struck already."""
        struck = [
            each for each in self._members if not each.is_gone and (each.struck or not each.name)
        ]
        if victim.struck or len(struck) >= MOST_STRUCK:
            return ""
        kinds = STRIKES | (PROXIED if victim.proxy else DIRECT)
        [kind] = self._chance.choices([*kinds], [*kinds.values()])
        return kind

    def restart(self, send: Callable[[], None]) -> None:
        """Kill the server right after something was sent, and start it again with what it knew.

        What it has told those behind proxies is lost with it, unless they are struck already.
        """
        spared = {each.proxy for each in self._members if each.struck and not each.is_gone}
        losing = [each for each in self._proxies if each not in spared]
        server = psutil.Process(int(self._fleet.redis.info("server")["process_id"]))
        for between in losing:
            between.hold(everything=False)
        for _ in range(SENT_AT_RESTART):
            send()
        server.kill()
        for between in losing:
            between.let_go(lose=True)
        self._fleet.server.stop()
        self._fleet.server.start()
        until(lambda: not self._fleet.redis.info("persistence")["loading"])
        self.counts[RESTART] += 1
        leases = self._fleet.redis.zrange(self._fleet.keys.wip(QUEUE), 0, -1)
        self.in_flight |= {lease.decode().split(":")[0] for lease in leases}

    @contextmanager
    def strike(self, kind: str, victim: Member) -> Iterator[None]:
        """Strike it, before or after what is done in this block."""
        victim.struck = kind
        self.counts[kind] += 1
        consumer, between = victim.consumer, victim.proxy
        match kind:
            case "SIGSTOP" | "SIGSTOP to all of it":
                self._stop(victim, whole=kind.endswith("all of it"))
                yield
                self._end_later(victim, lambda: consumer.signal_group(signal.SIGCONT))
            case "stopped, then SIGKILL" | "stopped, then SIGKILL to all of it":
                whole = kind.endswith("all of it")
                self._stop(victim, whole=whole)
                yield
                self._kill(victim, whole=whole)
            case "SIGKILL in flight":
                yield
                time.sleep(self._chance.uniform(0, IN_FLIGHT))
                self._kill(victim, whole=False)
            case "SIGTERM in flight":
                if between:
                    between.hold(everything=False)
                yield
                time.sleep(self._chance.uniform(0, IN_FLIGHT))
                consumer.process.send_signal(signal.SIGTERM)
                if between:  # so that it asks for its offer back before the job comes
                    time.sleep(self._chance.uniform(0, LAST_ARRIVAL))
                    between.let_go()
                self._replace(victim)
            case "pushes cut before":
                self._cut(victim)
                yield
                self._end_soon(victim)
            case "pushes cut in flight":
                yield
                time.sleep(self._chance.uniform(0, IN_FLIGHT))
                self._cut(victim)
                self._end_soon(victim)
            case _:
                assert between
                yield from self._strike_network(kind, victim, between)

    def _strike_network(self, kind: str, victim: Member, between: Proxy) -> Iterator[None]:
        if kind == "claim lost":
            between.lose = script("claim").digest.encode()
            yield
            self._end_soon(victim)
            return
        between.hold(everything=kind.startswith("network"))
        if kind.startswith("network"):
            self.in_flight |= self._fleet.held_by(victim.name)
        yield
        if kind == "pushes lost":
            time.sleep(self._chance.uniform(0, IN_FLIGHT))
            between.let_go(lose=True)
            self._end_soon(victim)
        else:
            self._end_later(victim, lambda: between.let_go(lose=kind == "network lost"))

    def _stop(self, victim: Member, *, whole: bool) -> None:
        consumer = victim.consumer
        if whole:
            consumer.signal_group(signal.SIGSTOP)
        else:
            consumer.process.send_signal(signal.SIGSTOP)
        supervisor = psutil.Process(consumer.process.pid)
        until(lambda: supervisor.status() == psutil.STATUS_STOPPED)
        self.in_flight |= self._fleet.held_by(victim.name)

    def _kill(self, victim: Member, *, whole: bool) -> None:
        """Kill it, and know what it held."""
        if whole:
            victim.consumer.signal_group(signal.SIGKILL)
        else:
            victim.consumer.process.send_signal(signal.SIGKILL)
        victim.consumer.process.wait(60)
        self._note_dead(victim)
        # A claim that it had sent may be on its way still, though not until a hand-over is overdue.
        self._pending.append((time.monotonic() + SENT_BEFORE, lambda: self._note_dead(victim)))
        self._killed.add(victim)
        self._replace(victim)

    def _note_dead(self, victim: Member) -> None:
        held = self._fleet.held_by(victim.name)
        told = self._fleet.redis.zrange(self._handed, 0, -1)
        jobs = {job.decode() for each in told for job in msgpack.unpackb(each, raw=True)[3][::2]}
        self.in_flight |= held
        self.confirmed |= held - jobs

    def _replace(self, victim: Member) -> None:
        victim.is_gone = True
        self._start(victim.proxy)

    def _cut(self, victim: Member) -> None:
        """Close the connection on which it is told, at the server's end."""
        connections = psutil.Process(victim.consumer.process.pid).net_connections()
        ports = {connection.laddr.port for connection in connections}
        for client in self._fleet.redis.client_list(_type="pubsub"):
            if int(client["addr"].rpartition(":")[2]) in ports:
                self._fleet.redis.client_kill_filter(_id=client["id"])

    def _end_later(self, victim: Member, action: Callable[[], None]) -> None:
        """Have a strike end after a pause: more often a short one."""
        pause = SHORTEST * (LONGEST / SHORTEST) ** self._chance.random()

        def end() -> None:
            action()
            victim.struck = ""

        self._pending.append((time.monotonic() + pause, end))

    def _end_soon(self, victim: Member) -> None:
        """Strike it no more until it has come to itself."""

        def end() -> None:
            victim.struck = ""

        self._pending.append((time.monotonic() + SHORTEST, end))

    def _start(self, through: Proxy | None) -> None:
        own = {"HEORI_REDIS_URL": f"redis://127.0.0.1:{through.port}/0"} if through else {}
        self._members.append(Member(self._fleet.start(**own), through))
