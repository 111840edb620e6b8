"""What a producer needs of a task: of its function, or of what was published of it."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from heori_common.protocol.job import LockName
from heori_common.rate import Rate
from heori_common.retry import Retry
from heori_common.values.arguments import Sent
from heori_common.values.results import Stored

R_co = TypeVar("R_co", covariant=True)


class Sendable(Protocol[R_co]):
    """A task that can be sent; see `heori_common.tasks.Task`."""

    name: str
    queue: str
    timeout: int
    result_ttl: int | None
    retry: Retry | None

    @property
    def signature(self) -> inspect.Signature | None:
        """Its parameters; None where it does not tell them."""

    @property
    def is_declared(self) -> bool:
        """Whether it stands under @task."""

    def to_send(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], *, from_json: bool, strict: bool
    ) -> Sent:
        """Check arguments, and write them."""

    def locks_of(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[LockName, ...]:
        """The locks that a job with these arguments needs."""

    def rate_of(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Rate | None:
        """The rate that a job with these arguments has."""

    def load_result(self, stored: Stored) -> R_co:
        """What a job has returned."""
