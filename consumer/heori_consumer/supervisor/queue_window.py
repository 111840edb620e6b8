"""Which queues a claim asks where there are many.

A queue without jobs costs Redis half a microsecond. Of ten thousand, a claim would come to
thousands of these, time and again, before it gets to one that has jobs. So a claim goes on where
the one before has found jobs, and asks some queues from there on. From the first queue on they are
asked again after LOOK_EVERY_S: so long a job of an earlier queue waits for its turn at most. A
claim that asks some, and finds nothing, is followed by one that asks all.
"""

from heori_consumer.supervisor.hand_overs import now

FEW = 64  # that one command looks at: so many are asked each time, and more
WIDER = 4  # times as many as the last claim has gone through, if that is more
# docs/consumers.md promises this.
LOOK_EVERY_S = 0.05
# Looking takes no more of the time than this: what Redis does for it, it cannot do for jobs.
LOOKING_SHARE = 0.03


class QueueWindow:
    """Goes through queues, in their order."""

    def __init__(self) -> None:
        self._queues = 0
        self._next_look = float("-inf")  # from the first on, by `now`
        self._first = 0  # all before had nothing then
        self._through = 0  # how many the last claim has found to have nothing more

    def next(self, queues: int) -> range:
        """The numbers of those that the next claim is to ask, of so many queues."""
        if queues <= FEW or queues != self._queues or self._first >= queues:
            self._queues = queues
            return range(queues)
        end = min(self._first + max(FEW, WIDER * self._through), queues)
        return range(0 if now() >= self._next_look else self._first, end)

    def asked(self, numbers: range, through: int, *, sent: float, took: float, empty: bool) -> None:
        """A claim has asked these.

        Args:
            through: how many of them, from the first on, have nothing more.
            sent: when, by `now`.
            took: until the answer came, in seconds.
            empty: whether none has had anything: then all are asked next.
        """
        if numbers.start == 0:
            self._next_look = sent + max(LOOK_EVERY_S, took / LOOKING_SHARE)
        first = numbers.start + through
        self._through = max(0, first - self._first)
        self._first = self._queues if empty else first
