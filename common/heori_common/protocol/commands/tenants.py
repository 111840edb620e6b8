"""The tenants of a queue, and their weights."""

from collections.abc import Mapping

from heori_common.protocol.commands.builder import Builders, Command, text
from heori_common.protocol.keys import TENANT, tenant_queue

LEAST_WEIGHT, MOST_WEIGHT = 0.01, 100.0  # as tenants.lua has them


class TenantCommands(Builders):
    """How many turns of others one of a tenant's counts for."""

    def weights(self, queue: str) -> Command[dict[str, float]]:
        """The weights of a queue's tenants that are not 1, by the tenant's name.

        Reads ValueError: one of them is no number.
        """
        stem = f"{queue}{TENANT}"

        def parse(reply: dict[bytes, bytes]) -> dict[str, float]:
            found = {text(name): weight for name, weight in reply.items()}
            return {
                name.removeprefix(stem): float(weight)
                for name, weight in found.items()
                if name.startswith(stem)
            }

        return Command(("HGETALL", self.keys.weights()), parse)

    def set_weights(self, queue: str, weights: Mapping[str, float]) -> list[Command[int]]:
        """Give tenants of a queue these weights; 1 is what those have of whom nothing is said."""
        key = self.keys.weights()
        return [
            Command(("HDEL", key, tenant_queue(queue, tenant)), int)
            if weight == 1
            else Command(("HSET", key, tenant_queue(queue, tenant), f"{weight:g}"), int)
            for tenant, weight in weights.items()
        ]
