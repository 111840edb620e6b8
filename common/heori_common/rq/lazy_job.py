"""rq's Job of a job that Heori runs: read when something of it is looked at, and not before.

Importing this imports rq.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from datetime import datetime
from functools import cache
from typing import Any

from rq.job import Job

from heori_common.given_back import lock_given_back
from heori_common.redis.redis_py import connect
from heori_common.rq.versions import VERSION

# Reads a job's hash; called with the connection and the key, and again only if it has raised.
Read = Callable[[Any, str], Mapping[bytes, bytes]]

# What rq's workers give a command with their defaults: functions block on this connection, too.
COMMAND_TIMEOUT_S = 415

_TIMES = (b"created_at", b"enqueued_at", b"started_at", b"ended_at", b"last_heartbeat")
_TIME = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")  # as rq writes them


def make_job(job_id: str, url: str, serializer: Any, read: Read, job_class: Any = Job) -> Any:
    """A Job that is as rq's once any attribute but its id and its connection is asked for.

    Args:
        url: of the server that its connection leads to.
        serializer: as rq takes it; reads its call and its meta.
        job_class: rq's Job, or a class made of it.
    """
    job = job_class.__new__(_lazy(job_class))
    vars(job).update(
        _id=job_id,
        connection=_connection(url),
        serializer=serializer,
        _heori_read=read,
        _heori_reading=lock_given_back(),
    )
    return job


@cache
def _connection(url: str) -> Any:
    """The one connection of all jobs of a process."""
    connection = connect(url)
    connection.connection_pool.connection_kwargs["socket_timeout"] = COMMAND_TIMEOUT_S
    return connection


@cache
def _lazy(job_class: Any) -> Any:
    class LazyJob(job_class):  # type: ignore[misc]
        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):  # what copy and pickle ask of any object
                raise AttributeError(name)
            _load(self, job_class)
            return getattr(self, name)

        def __eq__(self, other: object) -> bool:
            _load(self, job_class)
            return bool(self == other)

        __hash__ = job_class.__hash__

        def __reduce_ex__(self, protocol: Any) -> Any:
            _load(self, job_class)
            return self.__reduce_ex__(protocol)

    LazyJob.__name__ = job_class.__name__
    return LazyJob


def _load(job: Any, job_class: Any) -> None:
    with vars(job).get("_heori_reading") or nullcontext():
        if type(job) is job_class:  # another thread was faster
            return
        own = vars(job).copy()  # what its function has set stays
        read = own.pop("_heori_read")
        del own["_heori_reading"]
        full = job_class(own["_id"], connection=own["connection"])
        full.serializer = own["serializer"]  # rq would take longer to see what it is
        _restore(full, read(full.connection, full.key))
        vars(job).update(vars(full) | own)
        job.__class__ = job_class
        del job._heori_read, job._heori_reading


def _restore(full: Any, fields: Mapping[bytes, bytes]) -> None:
    """Restore a job from its hash; rq's own way to read a time takes as long as all the rest."""
    times = {
        name: datetime.fromisoformat(fields[name].decode())
        for name in _TIMES
        if VERSION >= (2, 6) and _TIME.fullmatch(fields.get(name, b""))
    }
    full.restore({name: value for name, value in fields.items() if name not in times})
    vars(full).update({name.decode(): time for name, time in times.items()})
