"""`heori drain`: have one consumer claim nothing more."""

from typing import Annotated

import typer

from heori.cli.ending import fail, guarded, refuse
from heori.inspect.consumers import NoConsumer, NotDrained
from heori.inspect.consumers import drain as ask
from heori.inspect.reader import RedisReader
from heori.inspect.shell import quoted
from heori.plain import say
from heori_common.errors import cut
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient
from heori_common.settings import Settings


def drain(name: Annotated[str, typer.Argument(help="Of the consumer: `heori consumers`.")]) -> None:
    """Have one consumer claim no more jobs, and go on with what it runs.

    Jobs that it has claimed, and that no slot has begun, go back to the front of their queues. It
    goes on living, with its roles: it may lead, send periodic jobs and look after what others have
    left. It is drained until `heori resume --consumer NAME`, or until it ends. To end it, send it
    SIGTERM.
    """
    if set_drain(name, drains=True):
        words = f"--consumer {quoted(name)}"
        say(f"{cut(name)} claims nothing more; `heori resume {words}` ends that")
    else:
        say(f"{cut(name)} was drained already")


def set_drain(name: str, *, drains: bool) -> bool:
    """Ask for it; ends the command when that cannot be. Returns whether it is new."""
    settings = Settings()

    def work() -> bool:
        with RedisClient(settings.redis_url) as client:
            return ask(RedisReader(client, Keys(settings.key_prefix)), name, drains=drains)

    try:
        return guarded(work)
    except NoConsumer as error:
        refuse(str(error), "`heori consumers` shows all there are")
    except NotDrained as error:
        fail(str(error))
