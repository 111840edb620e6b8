"""`heori tenants`: who shares a queue, and in which proportions."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from heori import formats
from heori.cli.console import JsonOption, tell_unreadable
from heori.cli.drawing import list_table
from heori.cli.ending import guarded, refuse
from heori.inspect.reader import RedisReader
from heori.inspect.tenants import TenantRow, read_tenants, set_weights
from heori.plain import say_json
from heori.terminal import Console, Name
from heori_common.errors import cut
from heori_common.names import check_queue, check_tenant
from heori_common.protocol.commands import LEAST_WEIGHT, MOST_WEIGHT
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient
from heori_common.redis.errors import RedisRefused
from heori_common.settings import Settings


def tenants(
    queue: Annotated[str, typer.Argument(help="The queue.")],
    *,
    weight: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TENANT=N",
            help="Give a tenant N turns for one of another, from 0.01 to 100; 1 is what each has. "
            "May be repeated.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the tenants of a queue, how many of their jobs wait, and their shares; or weigh them.

    A change applies to all consumers at once, and stays until it is changed again. The exit code is
    1 when something in Redis cannot be read. It is named, and the rest is shown.
    """
    settings = Settings()
    try:
        check_queue(queue)
        weights = dict(map(_weight, weight or []))
    except ValueError as error:
        refuse(str(error))

    def show() -> None:
        with RedisClient(settings.redis_url) as client:
            reader = RedisReader(client, Keys(settings.key_prefix))
            if weights:
                _set(reader, queue, weights)
            rows = read_tenants(reader, queue)
        if as_json:
            listed = [asdict(row) for row in rows]
            say_json({"tenants": listed, "unreadable": reader.unreadable})
        elif rows:
            Console().print(f"Tenants of {queue}", _table(rows), sep="\n")
        else:
            Console().print(f"{queue} has no tenants.")
        tell_unreadable(reader)

    guarded(show)


def _weight(given: str) -> tuple[str, float]:
    tenant, _, number = given.rpartition("=")
    try:
        weight = float(number)
    except ValueError:
        weight = 0.0
    if not LEAST_WEIGHT <= weight <= MOST_WEIGHT:
        raise ValueError(
            f"--weight {cut(given)}: a tenant and a number from {LEAST_WEIGHT:g} to "
            f"{MOST_WEIGHT:g} are needed, such as acme=3"
        )
    return check_tenant(tenant), weight


def _set(reader: RedisReader, queue: str, weights: dict[str, float]) -> None:
    try:
        set_weights(reader, queue, weights)
    except RedisRefused as error:
        reader.note_refusal(reader.commands.keys.weights(), error)
        refuse(f"the weights cannot be set: {next(reader.problems())}")


def _table(rows: list[TenantRow]) -> Table:
    table = list_table("tenant", numbers=("waiting", "claimed", "failed", "weight", "share"))
    for row in rows:
        counts = map(formats.count_or_unknown, (row.waiting, row.running, row.failed))
        share = "" if row.share is None else formats.share(row.share)
        table.add_row(Name(row.tenant or "of no tenant"), *counts, f"{row.weight:g}", share)
    return table
