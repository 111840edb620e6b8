"""Sweeps by steps, between which letters come and go: none is left out, and none taken twice."""

import json
import math
import random
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from heori.inspect.dead_choice import Choice
from heori.inspect.dead_letters import Action, DeadLetters
from heori.inspect.dead_sweep import Position, Sweep, act
from heori_common.redis.client import RedisClient
from heori_common.settings import Settings
from tests.rigs.dead_letters import dead, letter, queued

SCORES = (-1, 2_000_000_000, 2_000_000_000.123456, 2_000_000_001, "+inf")


@pytest.fixture
def client(settings: Settings) -> Iterator[RedisClient]:
    with RedisClient(settings.redis_url) as made:
        yield made


class Sweeper:
    """One who sweeps by steps, of which each knows nothing but the cursor of the one before."""

    def __init__(self, client: RedisClient, settings: Settings, most: int, **options: Any) -> None:
        self.cursor: str | None = None
        self.is_over = False
        self.found: list[str] = []
        self.fates: Counter[str] = Counter()
        self.unreadable: dict[str, str] = {}
        self._client, self._settings, self._most = client, settings, most
        self._options = options

    def step(self, action: str = "") -> None:
        letters = DeadLetters(self._client, self._settings)
        position = Position.of_cursor(self.cursor) if self.cursor else None
        sweep = Sweep(letters, Choice(), changes=True, position=position, **self._options)
        if action:
            do: Action = getattr(letters, action)
            for _ in act(
                sweep, sweep.step(most=self._most, seconds=math.inf), do, self.fates, dry_run=False
            ):
                pass
        else:
            for stretch in sweep.step(most=self._most, seconds=math.inf):
                self.found += [each.id for each in stretch.found]
        self.unreadable |= letters.reader.unreadable
        self.cursor = sweep.position.cursor if sweep.position else None
        self.is_over = self.cursor is None

    def finish(self, action: str = "") -> None:
        while not self.is_over:
            self.step(action)


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_what_stays_is_seen_once_whatever_comes_and_goes(
    client: RedisClient, settings: Settings, redis: Any, *, newest_first: bool, seed: int
) -> None:
    chance = random.Random(seed)

    def put(job_id: str, ago: float) -> None:
        queue = chance.choice("abc")
        letter(redis, job_id, queue=queue, ago=ago)
        redis.zadd(f"rq:failed:{queue}", {job_id: chance.choice(SCORES)})

    # Ids whose order by bytes is not that by letters, and one that is the beginning of another.
    ids = [f"{chance.choice(('a', 'B', 'é', 'ab'))}{n}" for n in range(60)]
    for job_id in ids:
        put(job_id, 60)
    sweeper = Sweeper(client, settings, 7, newest_first=newest_first)
    left: set[str] = set()
    while not sweeper.is_over:
        sweeper.step()
        for job_id in [*sweeper.found[-2:], *chance.sample(ids, 2)]:
            left.add(job_id)
            for queue in "abc":
                redis.zrem(f"rq:failed:{queue}", job_id)
        put(f"new-{chance.random()}", -60)
    assert len(sweeper.found) == len({*sweeper.found})
    assert {*ids} - left <= {*sweeper.found} <= {*ids}


def test_what_fails_again_at_once_is_replayed_once(
    client: RedisClient, settings: Settings, redis: Any
) -> None:
    """It comes back before the cursor, behind it, and at the same place."""
    for n in range(50):
        letter(redis, f"again-{n:02}", ago=60)
        redis.zadd("rq:failed:default", {f"again-{n:02}": 2_000_000_000 + n // 10})
    sweeper, runs = Sweeper(client, settings, 8), 0
    while not sweeper.is_over:
        sweeper.step("replay")
        while raw := redis.lpop("rq:queue:default"):
            runs += 1
            ended = datetime.now(UTC).isoformat()
            redis.hset(b"rq:job:" + raw, mapping={"status": "failed", "ended_at": ended})
            redis.zadd("rq:failed:default", {raw: 2_000_000_000 + runs % 6})
    assert runs == sweeper.fates["replayed"] == 50
    assert len(dead(redis)) == 50
    again = Sweeper(client, settings, 8)
    again.finish("replay")
    assert again.fates == {"replayed": 50}  # the next sweep leaves none of them out


def test_two_who_replay_at_once_move_each_letter_once(
    client: RedisClient, settings: Settings, redis: Any
) -> None:
    ids = [letter(redis, f"one-{n:03}", ago=1000 - n) for n in range(300)]
    one, other = Sweeper(client, settings, 20), Sweeper(client, settings, 33)
    while not (one.is_over and other.is_over):
        for each in (one, other):
            if not each.is_over:
                each.step("replay")
    assert one.fates["replayed"] + other.fates["replayed"] == 300
    assert one.fates["replayed"] > 0 < other.fates["replayed"]
    assert sorted(queued(redis)) == ids
    assert dead(redis) == set()


def test_a_queue_that_cannot_be_written_is_noted_and_the_others_are_done(
    client: RedisClient, settings: Settings, redis: Any
) -> None:
    for queue in "abc":
        for n in range(20):
            letter(redis, f"{queue}-{n}", queue=queue, ago=60)
    redis.set("rq:queue:b", "no list")
    sweeper = Sweeper(client, settings, 6)
    sweeper.finish("replay")
    assert sweeper.fates == {"replayed": 40}
    assert list(sweeper.unreadable) == ["rq:queue:b"]
    assert [len(dead(redis, queue)) for queue in "abc"] == [0, 20, 0]


@pytest.mark.parametrize(
    "position",
    [
        None,
        [],
        "began",
        [1.0, 2, 3, "q", "1", "id"],
        [1.0, 2, 3, "q", "nan", "id", 4],
        [1.0, 2, 3, "q", "1 2", "id", 4],
        [float("inf"), 2, 3, "q", "1", "id", 4],
        [1.0, 2, 3, 4, "1", "id", 4],
        [1.0, True, 3, "q", "1", "id", 4],
        [1.0, 2, 3, "q", "1", "x" * 5000, 4],
    ],
)
def test_what_is_no_cursor_is_refused(position: object) -> None:
    good = Position(1.5, 100, 20, "queue@@a\udcff", "1e+300", "id\udcff", 80)
    assert Position.of_cursor(good.cursor) == good
    with pytest.raises(ValueError, match="no cursor"):
        Position.of_cursor(urlsafe_b64encode(json.dumps(position).encode()).decode())
    for text in ("", "é", "!", "AAAA", good.cursor[:-5], "[" * 4000):
        with pytest.raises(ValueError, match="no cursor"):
            Position.of_cursor(text)
