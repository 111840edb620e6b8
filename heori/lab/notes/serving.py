"""What an experiment with jobs needs: a Valkey and consumers of its own, which end when it does."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from heori.demo.processes import ConsumerChild, Interrupt
from heori_common.embedded import EmbeddedValkey


@contextmanager
def serving(
    module: str, queues: Sequence[str], *, slots: int, consumers: int = 1
) -> Iterator["Served"]:
    """Start a server, and consumers of threads that run the tasks of a module.

    Raises:
        ChildFailed: a consumer has died.
        EmbeddedValkeyError: the server cannot be started.
    """
    words = [word for queue in queues for word in ("--queue", queue)]
    words += ["--model", "threads", "--slots", str(slots)]
    with ExitStack() as stack:
        valkey = stack.enter_context(EmbeddedValkey())
        children = [
            ConsumerChild(f"consumer {number}", *words, redis_url=valkey.url, tasks=module)
            for number in range(1, consumers + 1)
        ]
        for child in children:
            stack.enter_context(child)
        yield Served(valkey.url, children)


class Served:
    """A server, and its consumers; they begin meanwhile."""

    def __init__(self, url: str, consumers: Sequence[ConsumerChild]) -> None:
        self.url = url
        self._consumers = consumers

    def ready(self) -> None:
        """Wait until all consumers are there.

        Raises:
            ChildFailed: one of them has died.
        """
        for consumer in self._consumers:
            consumer.first_report(Interrupt())
