"""In which order several queues are served: strictly, in turns, or by weight."""

import heapq
import random
import re
from collections.abc import Sequence
from typing import Literal

from heori_common.errors import cut, short
from heori_common.names import check_queue

Order = Literal["strict", "round-robin", "weight"]


class QueueOrder:
    """Says how many jobs to take from each queue at first.

    By weight, it is nginx's smooth weighted round robin: each queue gains its weight at each
    turn, the one that has gathered most is served and pays the sum of all weights. With 3 and 1
    that gives a a b a, not a a a b, however the turns are spread over the calls.
    (nginx, ``ngx_http_upstream_round_robin.c``, ngx_http_upstream_get_peer.)

    Args:
        queues: how many there are.
        weights: of each of them; None for strict order.
        at_random: each job is from any of them that has some.
    """

    def __init__(
        self, queues: int, weights: Sequence[int] | None = None, *, at_random: bool = False
    ) -> None:
        self._at_random = at_random
        self._queues = queues
        self._weights = weights
        self._total = sum(weights or ())
        self._turns = 0
        # How often each queue was served, and the queue. Of those of one weight, who was served
        # least has gathered most: so of thousands, only the first of each heap is looked at.
        self._served: dict[int, list[tuple[int, int]]] = {}
        for queue, weight in enumerate(weights or ()):
            self._served.setdefault(weight, []).append((0, queue))

    def shares(self, count: int) -> list[int]:
        """Divide `count` jobs among the queues; the sum is `count`.

        In strict order the first is given all, and no other is named.
        """
        if self._weights is None and not self._at_random:
            return [count]
        shares = [0] * self._queues
        if self._weights is None:
            for _ in range(count):
                shares[random.randrange(self._queues)] += 1
            return shares
        # A whole round leaves what was gathered as it was.
        rounds, turns = divmod(count, self._total)
        if rounds:
            shares = [rounds * weight for weight in self._weights]
        for _ in range(turns):
            self._turns += 1
            heap = self._served[max(self._served, key=self._gathered)]
            times, queue = heap[0]
            heapq.heapreplace(heap, (times + 1, queue))
            shares[queue] += 1
        return shares

    def _gathered(self, weight: int) -> tuple[int, int]:
        """What the first of the queues of a weight has gathered; of as much, the first wins."""
        times, queue = self._served[weight][0]
        return weight * self._turns - self._total * times, -queue


def parse_queues(
    given: Sequence[str], order: Order | None = None
) -> tuple[tuple[str, ...], tuple[int, ...] | None]:
    """Read queues as they are given on the command line, ``name`` or ``name=weight``.

    What stands after the last = is a weight. So a queue whose own name has an = in it is given with
    one: ``a=3=1`` is the queue ``a=3``.

    Returns:
        The names, each once, and their weights; None for strict order.

    Raises:
        ValueError: a name or a weight does not fit, or the weights do not fit the order.
    """
    weights: dict[str, int] = {}
    weighted = [text for text in given if "=" in text]
    for text in given:
        name, _, number = text.rpartition("=") if text in weighted else (text, "", "1")
        check_queue(name)
        if not re.fullmatch("[1-9][0-9]{0,2}|1000", number):
            raise ValueError(
                f"queue '{cut(text)}': its weight must be a whole number from 1 to 1000, "
                f"such as {cut(name)}=3; a queue whose name has an = in it needs one, as in "
                f"{cut(text)}=1"
            )
        if weights.setdefault(name, int(number)) != int(number):
            raise ValueError(f"queue {short(name)} is given twice, with different weights")
    if weighted and order not in (None, "weight"):
        raise ValueError(f"a weight such as {cut(weighted[0])} needs the order weight, not {order}")
    if weighted or order in ("weight", "round-robin"):
        return tuple(weights), tuple(weights.values())
    return tuple(weights), None
