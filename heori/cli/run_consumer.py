"""Runs a consumer until it ends: what `heori consume`, `worker` and `worker-pool` share."""

import asyncio
import faulthandler
from dataclasses import replace

from heori.cli.ending import FAILED, fail, guarded, refuse
from heori_common import logs
from heori_common.redis.dialer import prepare
from heori_common.settings import Settings
from heori_consumer.pool.forkserver import ForkserverBroken
from heori_consumer.pool.roster import TasksBroken
from heori_consumer.pool.zygote import fork_early
from heori_consumer.supervisor.endpoint import PortTaken
from heori_consumer.supervisor.options import ConsumerOptions
from heori_consumer.supervisor.supervisor import NothingToConsume, Supervisor, SupervisorFailed

log = logs.get_logger(__name__)


def run(settings: Settings, options: ConsumerOptions) -> None:
    """Consume until it is told to stop; ends with an exit code and a message when it cannot."""
    prepare(settings.redis_url)
    if options.model != "inline":
        options = replace(options, zygote=fork_early())
    # Were the supervisor ever to crash in C, this would be all the evidence there is.
    faulthandler.enable(all_threads=True)

    async def main() -> None:
        await Supervisor(settings, options).run()

    try:
        guarded(lambda: asyncio.run(main()))
    except (TasksBroken, PortTaken, NothingToConsume) as error:
        refuse(*str(error).splitlines())
    except (SupervisorFailed, ForkserverBroken) as error:
        fail(*str(error).splitlines())
    except OSError as error:  # of which click would end without a word, were it a broken pipe
        log.critical("the consumer has failed", exc_info=error)
        raise SystemExit(FAILED) from error
