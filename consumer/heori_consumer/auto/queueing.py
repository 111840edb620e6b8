"""A closed queueing network of one station and a delay, by mean value analysis.

Customers are jobs in slots. Each thinks for some time, then wants to be served, and so on: in slots
there are always as many of them. M. Reiser and S. S. Lavenberg, "Mean-Value Analysis of Closed
Multichain Queuing Networks", Journal of the ACM 27 (2), 1980; its part on queue-dependent servers.
"""

from math import ceil
from typing import NamedTuple

# With more servers than this, customers rarely stand in line while one is free; and the numbers of
# these formulas lose their digits.
MOST_SERVERS = 4
# Of what the station can do at most: so close to it, more customers change nothing.
SATURATED = 0.9999
STEPS = 14  # of a bisection


class Passage(NamedTuple):
    """What so many customers do."""

    throughput: float  # of them, a second
    line: float  # how many wait for a server, on average


class Station:
    """A station with some servers, and the customers' thinking.

    Args:
        service: seconds of a server that a customer needs.
        think: seconds between its visits.
        servers: how many there are; 1.5 of them do as much as one and a half.
    """

    def __init__(self, service: float, think: float, servers: float = 1.0) -> None:
        self._service, self._think, self._servers = service, think, servers
        self._flows = [Passage(0.0, 0.0)]
        self._present = 0.0  # customers at the station
        # Of 0, 1, 2 … of them there, as far as servers are free then.
        self._chances = [1.0] + [0.0] * (ceil(servers) - 1)

    def flow(self, customers: int) -> Passage:
        """What so many customers do, on average."""
        if self._service <= 0:
            return Passage(customers / self._think if self._think > 0 else 0.0, 0.0)
        if self._servers > MOST_SERVERS:
            most = self._servers / self._service
            throughput = min(customers / (self._think + self._service), most)
            return Passage(throughput, customers - throughput * (self._think + self._service))
        while len(self._flows) <= customers:
            last = self._flows[-1]
            if last.throughput >= SATURATED * self._servers / self._service:
                return Passage(last.throughput, last.line + customers - len(self._flows) + 1)
            self._add()
        return self._flows[customers]

    def _add(self) -> None:
        """Add a customer: what it meets is what the others are without it."""
        service, servers, chances = self._service, self._servers, self._chances
        customers = len(self._flows)
        free = sum((1 - (k + 1) / servers) * chance for k, chance in enumerate(chances[:-1]))
        stay = service * ((1 + self._present) / servers + free)
        throughput = max(customers / (self._think + stay), self._flows[-1].throughput)
        self._present = throughput * stay
        load = throughput * service
        for k in range(len(chances) - 1, 0, -1):
            chances[k] = load / k * chances[k - 1]
        rest = sum((servers - k) * chances[k] for k in range(1, len(chances)))
        chances[0] = max(0.0, (servers - load - rest) / servers)
        self._flows.append(Passage(throughput, self._present - load))


def busy_at_line(customers: int, line: float) -> float:
    """The share of time that a server is busy which so many of its customers wait for."""
    least, most = 0.0, 1.0  # of the customers' time without waiting, that is service
    for _ in range(STEPS):
        middle = (least + most) / 2
        if Station(middle, 1 - middle).flow(customers).line < line:
            least = middle
        else:
            most = middle
    return min(1.0, least * Station(least, 1 - least).flow(customers).throughput)
