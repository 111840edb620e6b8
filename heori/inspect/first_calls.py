"""Which packages the jobs at the head of some queues call, without unpickling anything.

So a worker that may call nothing can say what to allow. It is a hint for a person, who decides.
"""

import pickletools
import re
import sys
import zlib
from collections.abc import Iterable, Iterator

from heori.inspect.reader import RedisReader
from heori_common.protocol.commands import Command

JOBS = 20  # that are looked at in each queue
MOST_BYTES = 65_536  # of a payload; the function stands at its beginning

_IN_JSON = re.compile(rb'\s*\[\s*"([\w.]+)"')


def packages_called(reader: RedisReader, queues: Iterable[str]) -> list[str]:
    """The packages that the first waiting jobs call, sorted; none of Python's own.

    Raises:
        RedisUnavailable: Redis cannot be reached.
        RedisRefused: it does not let anybody read.
    """
    keys = reader.commands.keys
    found: set[str] = set()
    for queue in queues:
        words = ("LRANGE", keys.queue(queue), 0, JOBS - 1)
        ids = reader.read(Command(words, lambda reply: [_text(each) for each in reply])) or []
        payloads = reader.read_many(
            [Command(("HGET", keys.job(job_id), "data"), lambda reply: reply) for job_id in ids]
        )
        found |= {package for data in payloads if data for package in _packages(data)}
    return sorted(found - sys.stdlib_module_names - {"", "__main__"})


def _packages(data: bytes) -> Iterator[str]:
    try:
        raw = zlib.decompressobj().decompress(data, MOST_BYTES)
    except zlib.error:
        raw = data[:MOST_BYTES]  # RQ reads an uncompressed payload, too
    if raw[:1] == b"\x80":
        yield from _pickled(raw)
    elif match := _IN_JSON.match(raw):
        yield match[1].decode().partition(".")[0]


def _pickled(raw: bytes) -> Iterator[str]:
    """The package of the function, and of each class; the opcodes are read, and not obeyed."""
    texts: list[str] = []
    try:
        for code, argument, _ in pickletools.genops(raw):
            if code.name == "STACK_GLOBAL":
                yield _package(texts[-2])
            elif code.name == "GLOBAL":
                yield _package(str(argument))
            elif isinstance(argument, str):
                if not texts and "." in argument:
                    yield _package(argument)
                texts.append(argument)
    except (ValueError, IndexError):
        return  # it is cut off here, or no pickle


def _package(name: str) -> str:
    return name.partition(".")[0] if re.fullmatch(r"[\w.]+", name.split(maxsplit=1)[0]) else ""


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
