"""Three tasks that differ in what they ask of Python's global interpreter lock (the GIL).

Counting tokens holds it, so threads take turns; digesting releases it, so threads run side by
side; fetching waits, so it needs neither a core nor the lock.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import quote, urlsplit

from heori import Retry, task
from heori.examples import corpus

QUEUE = "stdlib"
FETCH_TIMEOUT = 10.0  # seconds

_TOKEN = re.compile(r"\w+|[^\w\s]+")


class FetchFailed(RuntimeError):
    """The file server answered something other than the whole file."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What is in a file."""

    tokens: int
    distinct: int


@dataclass(frozen=True, slots=True)
class Digests:
    """The fingerprints of a file, in hexadecimal."""

    bytes: int
    sha256: str
    sha512: str
    blake2b: str


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came over the wire."""

    bytes: int


@task(queue=QUEUE)
def count_tokens(path: str) -> Tokens:
    """Count the words and signs in a file, in plain Python.

    Raises:
        OutsideCorpus: it is no file of the standard library.
    """
    text = corpus.resolve(path).read_text(encoding="utf-8", errors="replace")
    seen: dict[str, int] = {}
    for match in _TOKEN.finditer(text):
        token = match[0]
        seen[token] = seen.get(token, 0) + 1
    return Tokens(sum(seen.values()), len(seen))


@task(queue=QUEUE)
def digest(path: str) -> Digests:
    """Digest a file three times; hashlib releases the GIL for all but tiny ones.

    Raises:
        OutsideCorpus: it is no file of the standard library.
    """
    data = corpus.resolve(path).read_bytes()
    return Digests(
        len(data),
        hashlib.sha256(data).hexdigest(),
        hashlib.sha512(data).hexdigest(),
        hashlib.blake2b(data).hexdigest(),
    )


@task(
    queue=QUEUE,
    retry=Retry(max=8, base="1s", cap="30s"),
    retry_on=(OSError, HTTPException, FetchFailed),
)
def fetch(base_url: str, path: str) -> Fetched:
    """Fetch a file from the file server, and check that all of it came.

    A server that is away is asked again, for about two minutes.

    Args:
        base_url: the server's, such as ``http://127.0.0.1:8000``.
        path: relative to the standard library.

    Raises:
        FetchFailed: the server refuses, or does not tell how long the file is.
        OSError, http.client.HTTPException: it is away, or breaks off in the middle.
    """
    # Not urllib, which would send a request for this very machine to a proxy, if one is set.
    connection = HTTPConnection(urlsplit(base_url).netloc, timeout=FETCH_TIMEOUT)
    try:
        connection.request("GET", "/" + quote(path))
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    announced = answer.getheader("Content-Length")
    if answer.status != 200 or announced != str(len(body)):
        raise FetchFailed(
            f"{base_url} answered {path!r} with {answer.status} {answer.reason} and {len(body)} "
            f"bytes, of {announced} announced"
        )
    return Fetched(len(body))


ALL: dict[str, Callable[..., Any]] = {
    "count_tokens": count_tokens,
    "digest": digest,
    "fetch": fetch,
}
UNITS = {"count_tokens": "tokens", "digest": "bytes", "fetch": "bytes"}  # a field of each result
