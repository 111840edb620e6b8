"""Whether a supervisor is alive, as its own event loop tells."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from heori_consumer.supervisor.roles import Roles
from tests.rigs.listening import context_of


def test_a_supervisor_whose_event_loop_stands_still_is_not_alive() -> None:
    async def look(others: ThreadPoolExecutor) -> list[bool]:
        context = context_of("redis://127.0.0.1", "default")
        health = Roles.create(context).health
        health.begin()
        turning = await asyncio.to_thread(health.alive)
        standing = others.submit(health.alive).result()  # for which the loop stands still
        again = await asyncio.to_thread(health.alive)
        await context.redis.close()
        return [turning, standing, again]

    with ThreadPoolExecutor() as others:
        assert asyncio.run(look(others)) == [True, False, True]
