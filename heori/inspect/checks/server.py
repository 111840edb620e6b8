"""Is the server fit to keep jobs: version, role, persistence, memory, encodings, clock."""

import re
import shlex
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from heori import formats
from heori.inspect.checks.finding import Finding
from heori_common.protocol.commands import Command, Commands
from heori_common.redis.client import RedisClient
from heori_common.redis.errors import RedisRefused

OLDEST = (7, 0)  # the first server that has all commands and flags that Heori's scripts use
# stream-node-max-bytes: a result stream takes some 500 bytes with it, and 4,376 by default. With up
# to twice as many the difference is nothing to warn of.
NODE_BYTES = 128
# hash-max-listpack-value: a job with a longer field leaves the compact form of a hash, which takes
# some 400 bytes more (`bytes`). The default is 64, which a call with a few arguments exceeds.
VALUE_BYTES = 1024
AROUND_BYTES = 10_000  # that are sent with a result, which base64 makes longer by a third
CLOCK_SECONDS = 1.0  # by which two clocks may differ without a warning
FULL = 0.9  # of maxmemory


class ServerChecks:
    """Looks at one server.

    Args:
        client: of the server.
        prefix: of all keys.
        max_payload: bytes of arguments or a result, at most, by the settings.
    """

    def __init__(self, client: RedisClient, prefix: str, max_payload: int) -> None:
        self._client = client
        self._prefix = prefix
        self._max_payload = max_payload

    def all(self) -> tuple[Callable[[], Iterable[Finding]], ...]:
        """The checks, in the order in which people should read them."""
        return (
            self._version,
            self._role,
            self._cluster,
            self._persistence,
            self._memory,
            self._streams,
            self._hashes,
            self._payloads,
            self._clock,
        )

    def _version(self) -> Iterator[Finding]:
        server = self._info("server")
        name = "Valkey" if "valkey_version" in server else "Redis"
        version = server.get("valkey_version", server["redis_version"])
        if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
            yield Finding(
                "version",
                "problem",
                f"{name} {version}",
                "Heori's scripts use commands and flags that came with 7.0",
                "upgrade the server",
            )
        else:
            yield Finding("version", "fine", f"{name} {version}")

    def _role(self) -> Iterator[Finding]:
        if (state := self._info("replication"))["role"] == "slave":
            primary = f"{state['master_host']}:{state['master_port']}"
            yield Finding(
                "role",
                "problem",
                f"a replica of {primary}",
                "it takes no writes; jobs can neither be sent nor claimed here",
                f"export HEORI_REDIS_URL=redis://{primary}",
            )

    def _cluster(self) -> Iterator[Finding]:
        # What stands in the first braces of a key decides on its slot, and nothing else.
        together = re.match(r"[^{]*\{[^}]+\}", self._prefix)
        if self._info("cluster").get("cluster_enabled") == "1" and not together:
            whole = "{" + self._prefix + "}"
            yield Finding(
                "cluster",
                "problem",
                f"a Redis Cluster, and keys that begin with {self._prefix}",
                "its scripts take keys of one slot only; jobs can neither be sent nor claimed",
                f"export RQ_KEY_PREFIX={shlex.quote(whole)}  # for all producers and consumers",
            )

    def _persistence(self) -> Iterator[Finding]:
        state = self._info("persistence")
        snapshots = self._setting("save")
        if state.get("aof_enabled") == "1":
            if state.get("aof_last_write_status", "ok") != "ok":
                yield Finding(
                    "persistence",
                    "problem",
                    "the append-only file cannot be written",
                    "jobs sent from now on are gone with the server's process",
                    "df -h  # on the server; then look into its log",
                )
            else:
                yield Finding("persistence", "fine", "append-only file")
        elif snapshots and state.get("rdb_last_bgsave_status", "ok") != "ok":
            yield Finding(
                "persistence",
                "problem",
                "the last snapshot could not be written",
                "writes are refused until one can be (MISCONF)",
                "df -h  # on the server; then look into its log",
            )
        elif snapshots:
            yield Finding(
                "persistence",
                "warning",
                f"snapshots only (save {snapshots})",
                "a crash of the server loses every job since the last one",
                "heori redis CONFIG SET appendonly yes",
            )
        else:
            yield Finding(
                "persistence",
                "problem",
                "neither append-only file nor snapshots",
                "all jobs are gone when the server's process ends",
                "heori redis CONFIG SET appendonly yes",
            )

    def _memory(self) -> Iterator[Finding]:
        state = self._info("memory")
        most, policy = int(state.get("maxmemory", 0)), state.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            yield Finding(
                "memory",
                "problem" if most else "warning",
                f"maxmemory-policy {policy}" + ("" if most else ", with no maxmemory yet"),
                "a full server deletes jobs and registries in silence",
                "heori redis CONFIG SET maxmemory-policy noeviction",
            )
        used = int(state["used_memory"])
        if most and used > FULL * most:
            yield Finding(
                "memory",
                "problem",
                f"{formats.share(used / most)} of maxmemory is used",
                "a full server refuses jobs (noeviction) or deletes some (any other policy)",
                f"heori redis CONFIG SET maxmemory {2 * most}",
            )
        elif policy == "noeviction":
            taken = formats.size(used)
            amount = f"{taken} of {formats.size(most)}" if most else taken
            yield Finding("memory", "fine", f"{amount}, noeviction")

    def _streams(self) -> Iterator[Finding]:
        size = int(self._setting("stream-node-max-bytes"))
        if size == 0 or size > 2 * NODE_BYTES:
            yield Finding(
                "streams",
                "warning",
                f"stream-node-max-bytes {size}",
                "the result of each finished job takes some 4 kB, and would take 0.5 kB",
                f"heori redis CONFIG SET stream-node-max-bytes {NODE_BYTES}",
            )
        else:
            yield Finding("streams", "fine", f"stream-node-max-bytes {size}")

    def _hashes(self) -> Iterator[Finding]:
        size = int(self._setting("hash-max-listpack-value"))
        if size < VALUE_BYTES:
            yield Finding(
                "hashes",
                "warning",
                f"hash-max-listpack-value {size}",
                f"a job with a field of {size + 1:,} to {VALUE_BYTES:,} bytes takes some 400 bytes "
                "more than it would",
                f"heori redis CONFIG SET hash-max-listpack-value {VALUE_BYTES}",
            )
        else:
            yield Finding("hashes", "fine", f"hash-max-listpack-value {size}")

    def _payloads(self) -> Iterator[Finding]:
        takes = int(self._setting("proto-max-bulk-len"))
        needed = self._max_payload * 4 // 3 + AROUND_BYTES
        if takes < needed:
            yield Finding(
                "payloads",
                "warning",
                f"proto-max-bulk-len {takes}, and HEORI_MAX_PAYLOAD {self._max_payload}",
                "arguments and results between the two are refused by the server",
                f"heori redis CONFIG SET proto-max-bulk-len {needed}",
            )
        else:
            yield Finding("payloads", "fine", f"proto-max-bulk-len {takes}")

    def _clock(self) -> Iterator[Finding]:
        clock = time.time  # noqa: TID251 - this clock is what is looked at
        before = clock()
        apart = self._client.execute(Commands().time()) - (before + clock()) / 2
        if abs(apart) > CLOCK_SECONDS:
            yield Finding(
                "clock",
                "warning",
                f"the server's clock is {abs(apart):,.1f} s "
                f"{'ahead of' if apart > 0 else 'behind'} this machine's",
                "stock rq reckons leases and due times by its own; Heori by the server's only",
                "timedatectl set-ntp true  # on both",
            )
        else:
            yield Finding("clock", "fine", f"{abs(apart) * 1000:.0f} ms apart from this machine's")

    def _setting(self, name: str) -> str:
        """A setting of the server; what it does not know is refused like what it does not show."""
        asked: Command[Any] = Command(("CONFIG", "GET", name), lambda reply: reply)
        settings = self._client.execute(asked)
        if name.encode() not in settings:
            raise RedisRefused(f"CONFIG GET {name} has no answer")
        return str(settings[name.encode()], "utf-8", "backslashreplace")

    def _info(self, section: str) -> dict[str, str]:
        return self._client.execute(Commands().info(section))
