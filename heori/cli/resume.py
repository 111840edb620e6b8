"""`heori resume`: end what `heori pause` has begun."""

from heori import formats
from heori.cli.console import guarded
from heori.cli.pause import QueueArgument, TaskOption, TenantOption, chosen, named
from heori.inspect.limits import resume_all
from heori.inspect.reader import RedisReader
from heori.terminal import say
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient
from heori_common.settings import Settings


def resume(
    queue: QueueArgument = None, *, tenant: TenantOption = None, task: TaskOption = None
) -> None:
    """Have consumers take the jobs again that `heori pause` holds back, at once and in order."""
    what = chosen(queue, tenant, task)
    settings = Settings()

    def work() -> None:
        with RedisClient(settings.redis_url) as client:
            reader = RedisReader(client, Keys(settings.key_prefix))
            was_paused, jobs = resume_all(reader, what)
            if not was_paused:
                say(f"{named(what)} was not paused")
            elif what.kind == "task":
                went_back = formats.counted(jobs, "job")
                say(f"{named(what)} goes on; {went_back} went back to the front of their queues")
            else:
                say(f"{named(what)} goes on")

    guarded(work)
