"""Asks consumers for their metrics and for what their slots do, without a Prometheus."""

import asyncio
import contextlib
import functools
import ipaddress
import json
import math
import re
import resource
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar
from urllib.parse import SplitResult, urlencode, urlsplit

from heori_common.metrics import Metric

# What all are given to answer, in seconds: so long, and longer by a second for so many, as each
# answer is some work to read.
LEAST_S = 1.0
CONSUMERS_A_SECOND = 2000
MOST_S = 4.0
FILES_BESIDE = 64  # that this process has open beside its connections
LONGEST_KEPT = 1000  # characters of a series
# In the text format of Prometheus: a series, but for its last brace; a label; what is escaped.
_SERIES = re.compile(r'([a-zA-Z_:][\w:]*)(?:\{((?:\w+="(?:[^"\\]|\\.)*",?)*))?')
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")
MOST_ANSWER = 16_000_000  # bytes of one
# What AWS knows of a machine, beside the address of the link that all clouds have for it.
CLOUD = ipaddress.ip_address("fd00:ec2::254")

T = TypeVar("T")
Labels = frozenset[tuple[str, str]]


class NoMetrics(Exception):
    """A consumer does not answer, or with something else than was asked; the message says why."""


class Samples:
    """The metrics of one consumer at one moment.

    Attributes:
        at: when, as time.monotonic() tells it.
    """

    def __init__(self, text: str, at: float) -> None:
        """Read an exposition.

        Raises:
            ValueError: it is none.
        """
        self.at = at
        self._values: dict[str, dict[Labels, float]] = defaultdict(dict)
        for line in text.split("\n"):
            if not line or line.startswith("#"):
                continue
            series, _, rest = line.rpartition("} ") if "{" in line else line.partition(" ")
            read = _kept_series if len(series) <= LONGEST_KEPT else _read_series
            name, labels = read(series)
            value = float(rest.partition(" ")[0])  # a time may follow
            if math.isfinite(value):  # nothing that is read is anything else
                self._values[name][labels] = value

    def get(self, metric: Metric, **labels: str) -> float:
        """Its value, summed over the labels that are not given; 0 when it is not there."""
        wanted = labels.items()
        return sum(value for key, value in self._values[metric.name].items() if wanted <= key)

    def rate(self, metric: Metric, since: "Samples", **labels: str) -> float:
        """By how much it has risen a second since another moment."""
        return self._a_second(self.get(metric, **labels) - since.get(metric, **labels), since)

    def mean(self, metric: Metric, since: "Samples | None", **labels: str) -> float | None:
        """The mean of a histogram's values since another moment; None when there were none."""
        count, total = (self._part(metric, part, labels) for part in ("_count", "_sum"))
        if since is not None:
            count -= since._part(metric, "_count", labels)
            total -= since._part(metric, "_sum", labels)
        return total / count if count > 0 else None

    def counted(self, metric: Metric, **labels: str) -> float:
        """How many values a histogram has."""
        return self._part(metric, "_count", labels)

    def counted_rate(self, metric: Metric, since: "Samples", **labels: str) -> float:
        """How many more values it has each second since another moment."""
        rise = self.counted(metric, **labels) - since.counted(metric, **labels)
        return self._a_second(rise, since)

    def values(self, metric: Metric, label: str) -> list[str]:
        """The values that a label has, in order."""
        names = {metric.name, f"{metric.name}_count"}
        found = {dict(key).get(label) for name in names for key in self._values[name]}
        return sorted((each for each in found if each is not None), key=_numbers_first)

    def _a_second(self, rise: float, since: "Samples") -> float:
        # A consumer of the same name never begins anew, but the parts of a sum may come and go.
        return max(0.0, rise) / max(self.at - since.at, 1e-6)

    def _part(self, metric: Metric, part: str, labels: Mapping[str, str]) -> float:
        values = self._values[metric.name + part]
        return sum(value for key, value in values.items() if labels.items() <= key)


class Answers(NamedTuple):
    """What has come of asking many.

    Attributes:
        samples: of those that have answered, by name.
        asked: how many were.
        within: seconds that they had to answer.
    """

    samples: dict[str, Samples]
    asked: int
    within: float


def scrape(url: str, timeout: float) -> Samples:
    """Ask one consumer.

    Args:
        url: of its HTTP server, without a path.
        timeout: seconds to wait for the answer.

    Raises:
        NoMetrics: it does not answer, or not with metrics.
    """
    return asyncio.run(_ask(_address(url), "/metrics", _samples, timeout))


def ask_slots(
    urls: Mapping[str, str], most: int, within: float, job_id: str = ""
) -> dict[str, dict[str, Any] | NoMetrics]:
    """Ask many consumers at once what they and their slots do.

    Args:
        urls: as of `scrape_all`.
        most: jobs that each is to name; with 0 it tells of itself alone.
        within: seconds for all of them.
        job_id: of the one job that is to be named, if not all are.

    Returns:
        By name, what each says; or why it says nothing, of those that have an address.
    """
    addresses = _addresses(urls)
    path = f"/slots?{urlencode({'jobs': most} | ({'job': job_id} if job_id else {}))}"
    return asyncio.run(_ask_all(addresses, path, _json, within)) if addresses else {}


def scrape_all(urls: Mapping[str, str], metrics: Iterable[Metric]) -> Answers:
    """Ask many consumers at once for some metrics; those that do not answer in time are left out.

    Args:
        urls: of their HTTP servers, by the consumers' names, in the order in which to ask. Those
            that have none, as stock workers, are not asked.
    """
    addresses = _addresses(urls)
    within = min(MOST_S, LEAST_S + len(addresses) / CONSUMERS_A_SECOND)
    path = f"/metrics{query(metrics)}"
    answers = asyncio.run(_ask_all(addresses, path, _samples, within)) if addresses else {}
    samples = {name: each for name, each in answers.items() if isinstance(each, Samples)}
    return Answers(samples, len(addresses), within)


def query(metrics: Iterable[Metric]) -> str:
    """What asks for these metrics alone, behind the path; for histograms without their buckets."""
    return "?" + urlencode([("name[]", name) for each in metrics for name in _parts(each)])


async def _ask_all(
    addresses: Mapping[str, SplitResult], path: str, parse: Callable[[bytes], T], within: float
) -> dict[str, T | NoMetrics]:
    at_once = _most_connections(len(addresses))
    # Where not all can be asked at once, those that are silent must leave time for the others.
    patience = within / math.ceil(len(addresses) / at_once)
    free = asyncio.Semaphore(at_once)
    answers: dict[str, T | NoMetrics] = {
        name: NoMetrics(f"{address.geturl()} does not answer within {within:g} s")
        for name, address in addresses.items()
    }

    async def ask(name: str) -> None:
        async with free:
            try:
                answers[name] = await _ask(addresses[name], path, parse, patience)
            except NoMetrics as error:
                answers[name] = error

    asking = [asyncio.create_task(ask(name)) for name in addresses]
    _, late = await asyncio.wait(asking, timeout=within)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    return answers


async def _ask(address: SplitResult, path: str, parse: Callable[[bytes], T], patience: float) -> T:
    # HTTP/1.0: the answer comes in one piece, and ends with the connection. And never by a proxy,
    # should one be set: consumers are asked where they are.
    request = f"GET {path} HTTP/1.0\r\nHost: {address.netloc}\r\n\r\n"
    try:
        async with asyncio.timeout(patience):
            reader, writer = await _connect(address.hostname or "", address.port or 80)
            try:
                writer.write(request.encode())
                head, _, body = (await _read(reader)).partition(b"\r\n\r\n")
            finally:
                writer.transport.abort()
        status = head.partition(b"\r\n")[0][:80]
        if status.split(b" ", 2)[1:2] != [b"200"]:
            raise ValueError(f"it says {status!r}")
        return parse(body)
    except (OSError, ValueError) as error:
        reason = str(error) or f"nothing came within {patience:g} s"
        asked = f"{address.geturl()}{path.partition('?')[0]}"
        raise NoMetrics(f"{asked} does not answer: {reason}") from error


async def _read(reader: asyncio.StreamReader) -> bytes:
    """All that comes; ValueError when that is more than any consumer says."""
    answer = bytearray()
    while part := await reader.read(2**16):
        answer += part
        if len(answer) > MOST_ANSWER:
            raise ValueError(f"it says more than {MOST_ANSWER:,} bytes")
    return bytes(answer)


def _samples(body: bytes) -> Samples:
    return Samples(body.decode(), time.monotonic())


def _json(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except RecursionError as error:
        raise ValueError("it says JSON that is too deep") from error
    if not isinstance(said, dict):
        raise ValueError("it says no JSON object")  # noqa: TRY004 - as all else that it may say
    return said


async def _connect(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    why: OSError = OSError("it has no address")
    for address in await _resolve(host):
        if not _may_be_asked(address):
            why = OSError("no consumer has such an address")
            continue
        try:
            return await asyncio.open_connection(address, port)
        except OSError as error:
            why = error
    raise why


def _may_be_asked(address: str) -> bool:
    """Whether a consumer may have an address.

    Whoever may write to Redis may write any into a consumer's record. At those of a link, clouds
    answer with the rights of this machine.
    """
    ip = ipaddress.ip_address(address)
    real = getattr(ip, "ipv4_mapped", None) or ip
    is_odd = real.is_link_local or real.is_multicast or real.is_unspecified
    return not is_odd and real != CLOUD


async def _resolve(host: str) -> list[str]:
    """The IP addresses of a host. Who waits may give up, unlike with asyncio's own threads.

    The names of containers that are gone may go to a server that does not answer for long.
    """
    with contextlib.suppress(ValueError):
        return [str(ipaddress.ip_address(host))]
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[str]] = loop.create_future()

    def tell(addresses: list[str]) -> None:
        if not found.done():  # else nobody waits any more
            found.set_result(addresses)

    def look() -> None:
        addresses: list[str] = []
        with contextlib.suppress(OSError, UnicodeError):
            named = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            addresses += [str(address[0]) for *_, address in named]
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(tell, addresses)

    threading.Thread(target=look, daemon=True).start()
    return await found


def _addresses(urls: Mapping[str, str]) -> dict[str, SplitResult]:
    """Of those that have one."""
    addresses = {}
    for name, url in urls.items():
        with contextlib.suppress(NoMetrics):
            addresses[name] = _address(url)
    return addresses


def _address(url: str) -> SplitResult:
    try:
        address = urlsplit(url)
        if address.scheme == "http" and address.hostname and address.port != 0:
            return address
    except ValueError:
        pass
    # A stock worker; or anything else that was written there.
    raise NoMetrics(f"{url!r} is no address of a consumer's metrics")


def _parts(metric: Metric) -> Iterator[str]:
    """Its names."""
    if metric.kind == "histogram":
        yield from (f"{metric.name}_count", f"{metric.name}_sum")
    else:
        yield metric.name


def _most_connections(wanted: int) -> int:
    """How many may be open at once; lets this process open as many files as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + FILES_BESIDE
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft - FILES_BESIDE))


def _read_series(text: str) -> tuple[str, Labels]:
    """The name and the labels of a series, without the last brace.

    Raises:
        ValueError: it is none.
    """
    found = _SERIES.fullmatch(text)
    if found is None:
        raise ValueError(f"it says {text[:80]!r}")
    pairs = _LABEL.findall(found[2] or "")
    return found[1], frozenset((label, _ESCAPED.sub(_unescaped, value)) for label, value in pairs)


# Nearly all consumers have the same. To parse all that Prometheus allows, as its client does, takes
# half a second for those of 200, in which no page is answered.
_kept_series = functools.lru_cache(10_000)(_read_series)


def _unescaped(found: re.Match[str]) -> str:
    return "\n" if found[1] == "n" else found[1]


def _numbers_first(text: str) -> tuple[int, int, str]:
    return (0, int(text), "") if text.isdecimal() else (1, 0, text)
