"""`heori`, of whose consumer one role fails as soon as a job is held: HEORI_TEST_ROLE names it.

It fails with a broken pipe, which click takes as a reason to end without a word.
"""

import asyncio
import os
from typing import Any

from heori.cli.start import run
from heori_consumer.supervisor.acknowledger import Acknowledger
from heori_consumer.supervisor.lease_keeper import LeaseKeeper
from heori_consumer.supervisor.reaper import Reaper
from heori_consumer.supervisor.roles import Roles


def fail_once(role: Any, roles: Roles) -> None:
    """Have a role fail at its first run."""
    run = role.run

    async def fail() -> None:
        role.run = run
        while not roles.pool.running():  # noqa: ASYNC110 - nothing tells it
            await asyncio.sleep(0.01)
        raise BrokenPipeError("a defect")

    role.run = fail


if __name__ == "__main__":
    kinds = {kind.__name__: kind for kind in (Acknowledger, LeaseKeeper, Reaper)}
    kind = kinds[os.environ["HEORI_TEST_ROLE"]]
    create = Roles.create

    def create_with_one_that_fails(context: Any) -> Roles:
        roles = create(context)
        [role] = [role for role in roles.all() if isinstance(role, kind)]
        fail_once(role, roles)
        return roles

    Roles.create = create_with_one_that_fails  # type: ignore[method-assign]
    run()
