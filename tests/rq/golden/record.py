"""Makes the golden records anew: what several versions of rq leave in Redis.

    python -m tests.rq.golden.record

Each version is installed into an environment of its own, which is gone afterwards.
"""

import json
import re
import subprocess
import sys
import tempfile
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

from heori_common.embedded import EmbeddedValkey

VERSIONS = ("1.16.2", "2.6.1", "2.12.0", "3.0.0")
HERE = Path(__file__).parent
# What is over in a few minutes, whatever is done: workers, and who cleans up.
PASSING = (b"rq:worker", b"rq:clean_registries", b"rq:scheduler-lock", b"rq:execution")


def python_with_rq(version: str, folder: Path) -> Path:
    """A Python in that folder that has this version of rq."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", f"rq=={version}"], check=True)
    return python


def dump(client: Any) -> list[dict[str, Any]]:
    """Every key, readable where it is text."""
    read: dict[str, Callable[[bytes], Any]] = {
        "string": lambda key: text(client.get(key)),
        "hash": lambda key: {text(f): text(v) for f, v in sorted(client.hgetall(key).items())},
        "list": lambda key: [text(each) for each in client.lrange(key, 0, -1)],
        "set": lambda key: sorted(text(each) for each in client.smembers(key)),
        "zset": lambda key: [
            [text(m), score] for m, score in client.zrange(key, 0, -1, False, True)
        ],
        "stream": lambda key: [
            [text(entry), {text(f): text(portable(f, v)) for f, v in fields.items()}]
            for entry, fields in client.xrange(key)
        ],
    }
    keys = sorted(key for key in client.scan_iter() if not key.startswith(PASSING))
    return [
        {"key": text(key), "type": kind, "ttl": client.ttl(key), "value": read[kind](key)}
        for key in keys
        for kind in [client.type(key).decode()]
    ]


def portable(field: bytes, value: bytes) -> bytes:
    """A traceback without the paths of the machine that it was recorded on."""
    if field != b"exc_string":
        return value
    traceback = re.sub(rb'File ".*/', b'File "', zlib.decompress(b64decode(value)))
    return b64encode(zlib.compress(traceback))


def text(value: Any) -> str:
    """Text as it is, and all else as base64 after a sign."""
    try:
        return str(value.decode("ascii"))
    except UnicodeDecodeError:
        return "base64:" + b64encode(value).decode()


def main() -> None:
    for version in VERSIONS:
        tag = "v" + version.replace(".", "_")
        with tempfile.TemporaryDirectory() as folder, EmbeddedValkey() as server:
            python = python_with_rq(version, Path(folder))
            subprocess.run([python, "-m", "tests.rq.golden.enqueue", server.url, tag], check=True)
            with redis.Redis.from_url(server.url, socket_timeout=None) as client:
                (HERE / f"{tag}.json").write_text(json.dumps(dump(client), indent=1) + "\n")


if __name__ == "__main__":
    main()
