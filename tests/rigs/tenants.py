"""Many jobs of a tenant."""

from tests.rigs.script_bench import Bench

TURN = 16  # as in tenants.lua


def flood(bench: Bench, tenant: str, jobs: int, first: int = 0) -> list[str]:
    """Send jobs whose ids begin with the tenant's name; without one, its own to the queue."""
    names = [f"{tenant or 'none'}{n}" for n in range(first, first + jobs)]
    bench.send(*names, queue=f"default@@{tenant}" if tenant else "default")
    return names
