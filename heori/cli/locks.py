"""`heori locks`: who holds a lock, who waits for it, and how to take it from a holder."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from rich.table import Table
from typer.core import TyperGroup

from heori import Party, formats
from heori.cli.console import JsonOption, tell_unreadable
from heori.cli.drawing import list_table
from heori.cli.ending import FAILED, guarded, refuse
from heori.inspect.locks import Kind, Locks, LockState
from heori.plain import say, say_json
from heori.terminal import Console, Name, Text
from heori_common.names import check_name
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient
from heori_common.settings import Settings


class _ShowIsMeant(TyperGroup):
    """`heori locks`, with or without a name, is `heori locks show`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        # A shell that completes `heori locks ` is told the commands.
        is_meant = not ctx.resilient_parsing
        if args:
            is_meant = args[0] not in self.commands and args[0] not in ctx.help_option_names
        if is_meant:
            args = ["show", *args]
        return super().parse_args(ctx, args)


MOST_SHOWN = 10  # holders of one lock, and of those who wait for it; the others are counted

app = typer.Typer(
    cls=_ShowIsMeant,
    help="Show who holds locks and who waits for them; take one from its holder.\n\n"
    "`heori locks` is short for `heori locks show`, and `heori locks NAME` for "
    "`heori locks show NAME`.",
)

KindOption = Annotated[
    Kind | None,
    typer.Option(
        "--kind", help="Whether the mutex or the semaphore is meant, if both have this name."
    ),
]


@app.command()
def show(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help="The name of a lock; without it, all that are held or waited for.",
        ),
    ] = None,
    *,
    kind: KindOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show who holds a lock and who waits for it, in order; or all locks, one line each.

    The exit code is 1 when something in Redis cannot be read. It is named, and the rest is shown.
    """

    def work(locks: Locks) -> None:
        found = locks.all() if name is None else locks.named(name, kind)
        if as_json:
            record = {
                "locks": [lock.record() for lock in found],
                "forced_releases": locks.count_forced(),
            }
            say_json({**record, "unreadable": locks.reader.unreadable})
        elif name is None:
            _show_all(found, locks)
        else:
            for lock in found:
                _show_one(Console(), lock)
            if not found and not locks.reader.unreadable:
                say(f"nobody holds {name} or waits for it at {locks.address}")

    if kind is not None and name is None:
        refuse("--kind says which lock of a NAME is meant; give the name too")
    if name is not None:
        _check(name)
    _open(work)


@app.command()
def release(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the lock.")],
    *,
    force: Annotated[
        bool,
        typer.Option("--force", help="Do it; without this it only says what would happen."),
    ] = False,
    request: Annotated[
        list[str] | None,
        typer.Option(
            "--request",
            metavar="ID",
            help="The request of a holder, as `heori locks NAME` shows it; may be repeated.",
        ),
    ] = None,
    everyone: Annotated[
        bool, typer.Option("--all", help="Take it from all holders of a semaphore.")
    ] = False,
    kind: KindOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a lock from a holder that does not give it back, and hand it to the next in line.

    When a holder has died, its lease runs out and the next in line gets the lock by itself. So this
    is for a holder that is alive and hangs. It does not stop the holder: the holder learns of it
    when it next renews its lease, within a third of the lease. Until then two go on as if they held
    the lock. Writes of the old holder that are guarded by the fence are refused once the next
    holder has written; its other writes are not. Forced releases are counted. The exit code is 1
    when the lock had been given back meanwhile.
    """

    def work(locks: Locks) -> None:
        lock, holders = _choose(locks, name, kind, request or [], everyone=everyone)
        say(
            *(f"{lock} is held by {holder}, {_held(lock, holder)}" for holder in holders),
            "The holder is not stopped. It learns of this within a third of its lease; until then "
            "it goes on beside the next one.",
            "Only its writes that are guarded by the fence are refused, and only once the next "
            "holder has written.",
            error=True,
        )
        if not force:
            refuse("nothing was done; add --force to take it away all the same")
        taken = [holder.request for holder in holders if locks.force(lock, holder)]
        if as_json:
            say_json({"kind": lock.kind, "name": lock.name, "released": taken})
        else:
            say(f"released by force: {len(taken)} of {len(holders)}")
        if len(taken) < len(holders):
            say(
                f"heori: {lock}: holders that are not counted had given it back meanwhile",
                error=True,
            )
            raise typer.Exit(FAILED)

    _check(name)
    _open(work)


def _check(name: str) -> None:
    try:
        check_name("lock", name)
    except ValueError as error:
        refuse(str(error))


def _open(work: Callable[[Locks], None]) -> None:
    """Work on the locks of the server, then name what could not be read."""
    settings = Settings()

    def run() -> None:
        with RedisClient(settings.redis_url) as client:
            locks = Locks(client, Keys(settings.key_prefix))
            work(locks)
            tell_unreadable(locks.reader)

    guarded(run)


def _choose(
    locks: Locks, name: str, kind: Kind | None, requests: list[str], *, everyone: bool
) -> tuple[LockState, list[Party]]:
    """The lock that is meant, and the holders from which it is to be taken."""
    held = [lock for lock in locks.named(name, kind) if lock.holders]
    if locks.reader.unreadable:  # it may be the one that is meant
        refuse(*locks.reader.problems())
    if not held:
        refuse(f"nobody holds {name} at {locks.address}")
    if len(held) > 1:
        refuse(f"{name} is a mutex and a semaphore; say which: --kind mutex")
    [lock] = held
    if everyone and requests:
        refuse("either --all, or --request for each of some holders")
    if requests:
        holders = [holder for holder in lock.holders if holder.request in requests]
        strangers = set(requests) - {holder.request for holder in holders}
        if strangers:
            refuse(f"{lock} is not held by {', '.join(sorted(strangers))}")
        return lock, holders
    if len(lock.holders) > 1 and not everyone:
        refuse(
            f"{lock} has {len(lock.holders)} holders; say which: --request ID, or --all",
            *(f"  {holder.request}  {holder}" for holder in lock.holders),
        )
    return lock, list(lock.holders)


def _overview(locks: list[LockState]) -> Table:
    table = list_table("lock", "held by", numbers=("in use", "for", "waiting", "longest"))
    for lock in locks:
        # The one that has held it longest is the one to look at when others wait in vain.
        holder = min(lock.holders, key=lambda party: party.since, default=None)
        others = f", and {len(lock.holders) - 1} more" if len(lock.holders) > 1 else ""
        table.add_row(
            Name(str(lock)),
            Name(f"{holder}{others}" if holder else "nobody"),
            _permits(lock),
            formats.duration(lock.now - holder.since) if holder else "",
            formats.count(len(lock.waiters)),
            formats.duration(max((lock.now - each.since for each in lock.waiters), default=0.0))
            if lock.waiters
            else "",
        )
    return table


def _show_all(found: list[LockState], locks: Locks) -> None:
    if found:
        Console().print(f"Locks at {locks.address}", _overview(found), sep="\n")
    elif not locks.reader.unreadable:
        say(f"nobody holds a lock or waits for one at {locks.address}")
    if forced := locks.count_forced():
        say(f"taken from their holders by force so far: {formats.count(forced)}")


def _show_one(console: Console, lock: LockState) -> None:
    told = f"{lock}: {_permits(lock)} in use, {formats.count(len(lock.waiters))} waiting"
    console.print(Text(told, style="bold"), soft_wrap=True)
    for holder in lock.holders[:MOST_SHOWN]:
        console.print(f"  held by {holder}", soft_wrap=True)
        console.print(Text(f"    {_held(lock, holder)}", style="dim"), soft_wrap=True)
        console.print(Text(f"    request {holder.request}", style="dim"), soft_wrap=True)
    _tell_of_others(console, lock.holders)
    for place, waiter in enumerate(lock.waiters[:MOST_SHOWN], 1):
        since = (
            f"since {formats.moment(waiter.since)}, for {formats.duration(lock.now - waiter.since)}"
        )
        console.print(f"  {place}. waits: {waiter}, {since}", soft_wrap=True)
    _tell_of_others(console, lock.waiters)


def _tell_of_others(console: Console, parties: Sequence[Party]) -> None:
    if (others := len(parties) - MOST_SHOWN) > 0:
        console.print(f"  and {formats.count(others)} more; --json has all")


def _permits(lock: LockState) -> str:
    return f"{len(lock.holders)} of {lock.limit or '?'}"


def _held(lock: LockState, holder: Party) -> str:
    return (
        f"since {formats.moment(holder.since)}, for {formats.duration(lock.now - holder.since)}; "
        f"its lease ends in {formats.duration(holder.lease_end - lock.now)} unless renewed; "
        f"fence {holder.fence}"
    )
