"""Warns of a server that deletes keys when its memory is full."""

from heori_common import logs
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_consumer.supervisor.context import Context

log = logs.get_logger(__name__)


async def warn_of_eviction(context: Context) -> None:
    """Say so, if this server does."""
    try:
        memory = await context.redis.execute(context.commands.info("memory"))
    except (RedisUnavailable, RedisRefused):  # who may not ask gets no warning
        return
    policy = memory.get("maxmemory_policy", "noeviction")
    if policy != "noeviction" and memory.get("maxmemory", "0") != "0":
        log.warning(
            "this Redis deletes keys when its memory is full, and jobs or results with them; "
            "it should have the maxmemory-policy noeviction",
            policy=policy,
            maxmemory=memory["maxmemory"],
        )
