"""`heori locks`: who holds a lock, who waits for it, and how to take it from a holder."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import typer
from redis.exceptions import ResponseError
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from heori import Party, Status
from heori.cli.console import FAILED, JsonOption, guarded, printable, read_settings, refuse
from heori_common.locks.commands import LockCommands
from heori_common.locks.status import US_PER_S, status
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient

Kind = Literal["mutex", "semaphore"]
KINDS: tuple[Kind, ...] = ("mutex", "semaphore")


class _ShowIsMeant(TyperGroup):
    """`heori locks`, with or without a name, is `heori locks show`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["show", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_ShowIsMeant,
    help="Show who holds locks and who waits for them; take one from its holder.\n\n"
    "`heori locks` is short for `heori locks show`, and `heori locks NAME` for "
    "`heori locks show NAME`.",
)

KindOption = Annotated[
    Kind | None,
    typer.Option("--kind", help="Which is meant, where both have that name."),
]


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock as it was seen.

    Attributes:
        key: in Redis.
        now: the server's time, in epoch seconds.
        limit: of permits; None: nobody has said, as nobody holds it or waits for it.
    """

    kind: str
    name: str
    key: str
    now: float
    limit: int | None
    holders: tuple[Party, ...]
    waiters: tuple[Party, ...]

    def __str__(self) -> str:
        return printable(f"{self.kind} {self.name}")

    @property
    def in_use(self) -> bool:
        """Whether anybody has to do with it."""
        return bool(self.holders or self.waiters)

    def record(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "kind": self.kind,
            "name": self.name,
            "limit": self.limit,
            "in_use": len(self.holders),
            "holders": [
                {
                    **self._party(holder),
                    "fence": holder.fence,
                    "lease_ends_in": round(holder.lease_end - self.now, 3),
                }
                for holder in self.holders
            ],
            "waiters": [self._party(waiter) for waiter in self.waiters],
        }

    def _party(self, party: Party) -> dict[str, Any]:
        return {
            "job": party.job or None,
            "host": party.host,
            "pid": party.pid,
            "runner": party.name,
            "since": datetime.fromtimestamp(party.since, UTC).isoformat(),
            "seconds": round(self.now - party.since, 3),
            "request": party.request,
        }


class Locks:
    """The locks on one server.

    Attributes:
        problems: what could not be read, and why.
    """

    def __init__(self, client: RedisClient, keys: Keys) -> None:
        self.address = client.address
        self.problems: list[str] = []
        self._redis = client
        self._keys = keys
        self._commands = LockCommands(keys)

    def named(self, name: str, kind: Kind | None) -> list[Lock]:
        """The locks of a name, that are in use or have a limit: a mutex, a semaphore, or both."""
        keys = [self._keys.lock(each, name) for each in ([kind] if kind else KINDS)]
        return [lock for lock in self._read(keys) if lock.in_use or lock.limit]

    def all(self) -> list[Lock]:
        """All that are in use; those that most wait for come first."""
        found = list(self._read(self._redis.execute(self._commands.in_use())))
        found.sort(key=lambda lock: (-len(lock.waiters), lock.name, lock.kind))
        return [lock for lock in found if lock.in_use]

    def force(self, lock: Lock, holder: Party) -> bool:
        """Take it from a holder; returns whether he still had it."""
        return self._redis.execute(self._commands.force_release(lock.key, holder.request))

    @property
    def forced(self) -> int:
        """How many were taken so, since ever."""
        return self._redis.execute(self._commands.count_forced())

    def _read(self, keys: list[str]) -> Iterator[Lock]:
        for key in keys:
            kind, name = self._keys.lock_name(key)
            try:
                key.encode()  # anyone may write any bytes there; these name no lock
                state = self._redis.execute(self._commands.read(key))
                requests = (*state.holders, *state.waiters)
                declared = max((each.limit or 1 for each in requests), default=0)
                seen: Status = status(state, declared)
            except (ResponseError, ValueError, TypeError) as error:
                self.problems.append(f"{kind} {name} cannot be read: {error}")
                continue
            limit, now = seen.limit or None, state.now / US_PER_S
            yield Lock(kind, name, key, now, limit, seen.holders, seen.waiters)


@app.command()
def show(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]", help="Of a lock; without it, all that are held or waited for."
        ),
    ] = None,
    *,
    kind: KindOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show who holds a lock and who waits for it, in order; or all locks, one a line."""

    def work(locks: Locks) -> None:
        found = locks.all() if name is None else locks.named(name, kind)
        if as_json:
            print(
                json.dumps(
                    {"locks": [lock.record() for lock in found], "forced_releases": locks.forced}
                )
            )
            return
        console = Console(highlight=False)
        if name is not None:
            for lock in found:
                _show_one(console, lock)
            if not found:
                print(f"nobody holds {printable(name)} or waits for it at {locks.address}")
            return
        if found:
            console.print(_overview(found, locks.address))
        else:
            print(f"nobody holds a lock or waits for one at {locks.address}")
        if locks.forced:
            print(f"taken from their holders by force, since ever: {locks.forced:,}")

    if kind is not None and name is None:
        refuse("--kind tells which lock of a NAME is meant; give the name, too")
    _open(work)


@app.command()
def release(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the lock.")],
    *,
    force: Annotated[
        bool,
        typer.Option("--force", help="Do it; without this it only tells what it would mean."),
    ] = False,
    request: Annotated[
        list[str] | None,
        typer.Option(
            "--request",
            metavar="ID",
            help="Of a holder, as `heori locks NAME` shows it; several may be named.",
        ),
    ] = None,
    everyone: Annotated[
        bool, typer.Option("--all", help="From all holders of a semaphore.")
    ] = False,
    kind: KindOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a lock from a holder that does not give it back, and hand it to the next in line.

    A lock whose holder has died goes to the next by itself when its lease runs out, so this is
    for one that lives and hangs. It is not stopped by this: it is told when it next renews its
    lease, within a third of it. Until it takes notice, two go on as if they held the lock.
    A write that is guarded by the fence is refused to it once the next holder has written; any
    other write is not. It is counted. The exit code is 1 when the lock was given back meanwhile.
    """

    def work(locks: Locks) -> None:
        lock, holders = _choose(locks, name, kind, request or [], everyone=everyone)
        told = sys.stderr
        for holder in holders:
            print(f"{lock} is held by {_who(holder)}, {_held(lock, holder)}", file=told)
        print(
            "The holder is not stopped. It is told within a third of its lease; until then it "
            "goes on beside the next one.\nOnly writes guarded by the fence are refused to it, "
            "and only once the next holder has written.",
            file=told,
        )
        if not force:
            refuse("nothing was done; add --force to take it away all the same")
        taken = [holder.request for holder in holders if locks.force(lock, holder)]
        if as_json:
            print(json.dumps({"kind": lock.kind, "name": lock.name, "released": taken}))
        else:
            print(f"released by force: {len(taken)} of {len(holders)}")
        if len(taken) < len(holders):
            locks.problems.append(f"{lock}: who is not counted had given it back meanwhile")

    _open(work)


def _open(work: Callable[[Locks], None]) -> None:
    """Do it on the server; exit with 1, and tell what was wrong, if anything was."""
    settings = read_settings()

    def run() -> None:
        with RedisClient(settings.redis_url) as client:
            locks = Locks(client, Keys(settings.key_prefix))
            try:
                work(locks)
            finally:
                for problem in locks.problems:
                    print(f"heori: {printable(problem)}", file=sys.stderr)
        if locks.problems:
            raise typer.Exit(FAILED)

    guarded(run)


def _choose(
    locks: Locks, name: str, kind: Kind | None, requests: list[str], *, everyone: bool
) -> tuple[Lock, list[Party]]:
    """The lock that is meant, and the holders from which it is to be taken."""
    held = [lock for lock in locks.named(name, kind) if lock.holders]
    if not held:
        refuse(f"nobody holds {printable(name)} at {locks.address}")
    if len(held) > 1:
        refuse(f"{printable(name)} is a mutex and a semaphore; say which: --kind mutex")
    [lock] = held
    if everyone and requests:
        refuse("either --all, or --request for each of some holders")
    if requests:
        holders = [holder for holder in lock.holders if holder.request in requests]
        strangers = set(requests) - {holder.request for holder in holders}
        if strangers:
            refuse(f"{lock} is not held by {printable(', '.join(sorted(strangers)))}")
        return lock, holders
    if len(lock.holders) > 1 and not everyone:
        refuse(
            f"{lock} has {len(lock.holders)} holders; say which: --request ID, or --all\n"
            + "\n".join(f"  {holder.request}  {_who(holder)}" for holder in lock.holders)
        )
    return lock, list(lock.holders)


def _overview(locks: list[Lock], address: str) -> Table:
    table = Table(title=f"Locks at {address}")
    table.add_column("lock", overflow="fold")
    table.add_column("in use", justify="right", no_wrap=True)
    table.add_column("held by", overflow="fold")
    table.add_column("for", justify="right", no_wrap=True)
    table.add_column("waiting", justify="right", no_wrap=True)
    table.add_column("longest", justify="right", no_wrap=True)
    for lock in locks:
        # Whoever has held it longest is whom the others may be waiting for in vain.
        holder = min(lock.holders, key=lambda party: party.since, default=None)
        others = f", and {len(lock.holders) - 1} more" if len(lock.holders) > 1 else ""
        table.add_row(
            Text(str(lock)),
            _permits(lock),
            Text(_who(holder) + others if holder else "nobody"),
            _age(lock.now - holder.since) if holder else "",
            f"{len(lock.waiters):,}",
            _age(max((lock.now - each.since for each in lock.waiters), default=0.0))
            if lock.waiters
            else "",
        )
    return table


def _show_one(console: Console, lock: Lock) -> None:
    told = f"{lock}: {_permits(lock)} in use, {len(lock.waiters):,} waiting"
    console.print(Text(told, style="bold"), soft_wrap=True)
    for holder in lock.holders:
        console.print(Text(f"  held by {_who(holder)}"), soft_wrap=True)
        console.print(Text(f"    {_held(lock, holder)}", style="dim"), soft_wrap=True)
        console.print(Text(f"    request {printable(holder.request)}", style="dim"), soft_wrap=True)
    for place, waiter in enumerate(lock.waiters, 1):
        since = f"since {_moment(waiter.since)}, for {_age(lock.now - waiter.since)}"
        console.print(Text(f"  {place}. waits: {_who(waiter)}, {since}"), soft_wrap=True)


def _permits(lock: Lock) -> str:
    return f"{len(lock.holders)} of {lock.limit or '?'}"


def _held(lock: Lock, holder: Party) -> str:
    return (
        f"since {_moment(holder.since)}, for {_age(lock.now - holder.since)}; "
        f"its lease ends in {_age(holder.lease_end - lock.now)} unless renewed; "
        f"fence {holder.fence}"
    )


def _who(party: Party) -> str:
    return printable(str(party))


def _moment(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _age(seconds: float) -> str:
    """A duration in its two largest units, or in seconds."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
