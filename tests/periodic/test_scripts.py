"""What the scripts promise: each tick is sent once, and the newest code says which there are."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from heori_common.periodic.entry import Rules, ScheduleEntry
from heori_common.periodic.timing import Crontab, Interval, Timing
from heori_common.protocol.commands import Ticks, TicksDone
from heori_common.protocol.commands.periodic import ScheduleLook
from heori_common.protocol.job import NewJob
from heori_common.protocol.keys import service_of
from heori_common.protocol.payload import Call
from heori_consumer.supervisor.leadership import Leadership
from heori_consumer.supervisor.ticker import Ticker
from tests.rigs.listening import context_of
from tests.rigs.script_bench import ADD, Bench, done, failed

SERVICE = service_of(["default"])
APP = ["app.tasks"]
SECOND = Interval(1000)


def entry(
    name: str, timing: Timing = SECOND, queue: str = "default", **rules: Any
) -> ScheduleEntry:
    job = NewJob.create("", Call(ADD, [1], {"b": 2}), 180)
    return ScheduleEntry(name, timing, Rules(**rules), ADD, queue, job.fields())


class Rig:
    """A schedule, with the calls of consumers and their leader."""

    def __init__(self, bench: Bench, service: str = SERVICE) -> None:
        self.bench = bench
        self.service = service
        self.known = ""
        self.timings: dict[str, str] = {}

    def publish(
        self, *entries: ScheduleEntry, by: str = "c1", modules: Sequence[str] = APP, ttl: float = 60
    ) -> int:
        published = [(each.name, each.pack()) for each in entries]
        command = self.bench.commands.publish_schedule(
            self.service, modules, published, consumer=by, ttl=ttl
        )
        return self.bench.execute(command)

    def go(self, *entries: ScheduleEntry, by: str = "c1", modules: Sequence[str] = APP) -> int:
        """A consumer ends in order."""
        published = [(each.name, each.pack()) for each in entries]
        return self.bench.execute(
            self.bench.commands.retract_schedule(self.service, modules, published, consumer=by)
        )

    def look(self) -> ScheduleLook:
        """As the leader does, once it knows all entries."""
        for _ in range(2):
            look = self.bench.execute(
                self.bench.commands.look_at_schedule(self.service, self.known, self.timings)
            )
            if look.entries is None:
                break
            self.known = look.versions
            self.timings = {
                each.name: each.timing_text for each in map(ScheduleEntry.unpack, look.entries)
            }
        return look

    def names(self) -> set[str]:
        return set(self.look().states)

    def last(self, name: str) -> int:
        return self.look().states[name].last

    def send(self, of: ScheduleEntry, *ticks: int, last: int, missed: int = 0) -> TicksDone | None:
        jobs = [(of.job_id(tick), tick) for tick in ticks]
        up_to = ticks[-1] if ticks else last
        command = self.bench.commands.send_ticks([Ticks(of, last, jobs, missed, up_to)])
        [reply] = self.bench.execute(command)
        return reply

    def put_back(self, name: str, ms: int) -> int:
        """As if its last tick had been so long ago; returns when it was."""
        last = int(self.bench.now() * 1000) - ms
        self.bench.redis.hset(f"rq:heori:entry:{name}", "last", last)
        return last


@pytest.fixture
def rig(bench: Bench) -> Rig:
    return Rig(bench)


def test_a_tick_is_sent_once_whoever_sends_it_and_however_late(rig: Rig) -> None:
    one = entry("one")
    assert rig.publish(one) == 1
    assert rig.names() == {"one"}
    last = rig.put_back("one", 5000)
    a, b = last + 1000, last + 2000
    assert rig.send(one, a, b, last=last) == TicksDone(2, 0, 0)
    assert rig.bench.queue() == [one.job_id(a), one.job_id(b)]
    assert rig.send(one, a, b, last=last) is None, "the reply was lost, or it is an old leader"
    for claim in rig.bench.claim(count=2):
        rig.bench.ack(done(claim))
    rig.bench.redis.delete(*(f"rq:job:{one.job_id(each)}" for each in (a, b)))
    assert rig.send(one, a, b, last=last) is None, "its job has expired since"
    assert rig.last("one") == b
    rig.bench.redis.hset("rq:heori:entry:one", "last", last)  # somebody has restored an old backup
    assert rig.send(one, a, last=last) == TicksDone(1, 0, 0)
    rig.bench.redis.hset("rq:heori:entry:one", "last", last)
    assert rig.send(one, a, last=last) == TicksDone(0, 0, 0), "a job of that id is there"
    assert rig.bench.queue() == [one.job_id(a)]


def test_the_job_is_one_as_any_producer_sends_it(rig: Rig) -> None:
    one = entry("one")
    rig.publish(one)
    rig.look()
    last = rig.put_back("one", 5000)
    rig.send(one, last + 1, last=last)
    rig.bench.send("sent")
    ours, theirs = (
        rig.bench.redis.hgetall(f"rq:job:{job_id}") for job_id in (one.job_id(last + 1), "sent")
    )
    assert json.loads(ours.pop(b"meta")).keys() == {"scheduled_for"}
    assert ours.keys() == theirs.keys()
    times = {b"created_at", b"enqueued_at"}
    assert {name: ours[name] for name in ours.keys() - times} == {
        name: theirs[name] for name in theirs.keys() - times
    }
    [claim, _] = rig.bench.claim(count=2)
    assert rig.bench.ack(done(claim, 3)) == []
    rq_job = rig.bench.rq_job(claim.job_id)
    assert (rq_job.get_status(), rq_job.return_value()) == ("finished", 3)


def test_the_servers_clock_decides_what_is_due(rig: Rig) -> None:
    one = entry("one")
    rig.publish(one)
    last = rig.last("one")
    early = last + 3_600_000
    assert rig.send(one, early, last=last) == TicksDone(0, 0, 0)
    assert (rig.bench.queue(), rig.last("one")) == ([], last)


def test_a_paused_entry_lets_its_ticks_pass_and_begins_anew(rig: Rig) -> None:
    one = entry("one", catch_up="all")
    rig.publish(one)
    pause, go_on = (
        rig.bench.commands.pause_entry("one", paused=paused) for paused in (True, False)
    )
    assert [rig.bench.execute(pause) for _ in range(2)] == [1, 0], "though nobody has begun with it"
    rig.look()
    last = rig.put_back("one", 5000)
    assert rig.look().states["one"].is_paused
    assert rig.send(one, last + 1, last=last) == TicksDone(0, 0, 1)
    before = rig.put_back("one", 3_600_000)
    assert [rig.bench.execute(go_on) for _ in range(2)] == [1, 0]
    assert rig.last("one") > before + 3_590_000
    assert not rig.look().states["one"].is_paused
    assert rig.bench.queue() == []


def test_an_entry_of_nobody_is_forgotten_until_a_consumer_has_it_again(rig: Rig) -> None:
    one, two = entry("one", catch_up="all"), entry("two")
    execute, commands = rig.bench.execute, rig.bench.commands

    def forget(name: str) -> str:
        return execute(commands.forget_entry(SERVICE, name))

    rig.publish(one, two)
    rig.look()
    before = rig.put_back("one", 3_600_000)
    assert [forget("one"), forget("none")] == ["lives", ""]
    rig.go(one, two)
    assert [forget("one"), forget("one")] == ["done", "done"]
    assert rig.bench.redis.hexists("rq:heori:entry:one", "removed")
    assert rig.bench.redis.ttl("rq:heori:entry:one") == -1, "its version is there yet"

    rig.publish(one, two)  # the same code is back
    assert rig.look().states.keys() == {"one", "two"}
    assert rig.last("one") > before + 3_500_000, "it begins anew"
    assert not rig.bench.redis.hexists("rq:heori:entry:one", "removed")
    rig.go(one, two)
    assert [forget("one"), forget("two"), forget("two")] == ["done", "done", ""]
    assert execute(commands.schedules()) == []
    assert execute(commands.read_schedule(SERVICE)).versions == []
    assert rig.bench.redis.ttl("rq:heori:entry:one") > 0


def test_without_overlap_a_tick_is_skipped_while_the_one_before_waits_or_runs(rig: Rig) -> None:
    one = entry("one", overlap=False)
    rig.publish(one)
    rig.look()
    last = rig.put_back("one", 9000)
    assert rig.send(one, last + 1, last + 2, last=last) == TicksDone(1, 0, 1), "it waits"
    [claim] = rig.bench.claim()
    assert rig.send(one, last + 3, last=last + 2) == TicksDone(0, 0, 1), "it runs"
    rig.bench.ack(failed(claim))
    assert rig.send(one, last + 4, last=last + 3) == TicksDone(1, 0, 0)
    state = rig.bench.execute(rig.bench.commands.entry_state("one"))
    assert (state["sent"], state["skipped"], state["job"]) == ("2", "2", one.job_id(last + 4))


def test_how_the_last_job_ended_is_known_when_it_is_gone(rig: Rig) -> None:
    one = entry("one")
    rig.publish(one)
    rig.look()
    last = rig.put_back("one", 5000)

    def outcome() -> str | None:
        rig.look()
        return rig.bench.execute(rig.bench.commands.entry_state("one")).get("outcome")

    rig.send(one, last + 1, last=last)
    assert outcome() is None
    [claim] = rig.bench.claim()
    rig.bench.ack(failed(claim))
    assert outcome() == "failed"
    rig.bench.redis.delete(f"rq:job:{claim.job_id}")
    assert outcome() == "failed"
    rig.send(one, last + 2, last=last + 1)
    rig.bench.redis.delete(f"rq:job:{one.job_id(last + 2)}")
    assert outcome() == "deleted"


def test_in_a_rolling_deploy_the_newer_code_holds_and_nothing_flaps(rig: Rig) -> None:
    kept, old, new = entry("kept"), entry("old"), entry("new")
    rig.publish(kept, old, by="old-1")
    rig.publish(kept, old, by="old-2")
    assert rig.names() == {"kept", "old"}
    last = rig.put_back("kept", 1500)
    rig.publish(kept, new, by="new-1")
    assert rig.names() == {"kept", "new"}
    assert rig.last("kept") == last, "what stays goes on where it was"
    for _ in range(3):  # one of the old ones is started again
        rig.publish(kept, old, by="old-2")
        assert rig.names() == {"kept", "new"}
    assert (rig.go(kept, new, by="new-1"), rig.names()) == (1, {"kept", "old"}), "a rollback"
    rig.publish(kept, new, by="new-1")
    rig.look()
    rig.go(kept, old, by="old-1")
    rig.go(kept, old, by="old-2")
    assert rig.names() == {"kept", "new"}
    assert rig.bench.redis.hget("rq:heori:entry:old", "removed") == b"1"
    assert 0 < rig.bench.redis.ttl("rq:heori:entry:old") <= 30 * 86400
    back = rig.put_back("old", 60_000)
    rig.publish(kept, old, by="later")
    assert rig.names() == {"kept", "old"}
    assert rig.last("old") > back + 59_000, "what comes back begins anew"
    assert rig.bench.redis.ttl("rq:heori:entry:old") == -1


def test_an_entry_that_gets_other_times_begins_with_them_now(rig: Rig) -> None:
    daily, hourly = entry("one", Crontab("@daily", "UTC")), entry("one", Interval(3_600_000))
    rig.publish(daily, by="old")
    rig.look()
    last = rig.put_back("one", 86_400_000)
    rig.publish(hourly, by="new")
    assert rig.last("one") > last + 86_390_000
    assert rig.send(daily, last + 1, last=rig.last("one")) is None, "by a leader of the old code"
    other = Rig(rig.bench, service_of(["other"]))  # whose consumers are not deployed yet
    rig.bench.redis.hset("rq:heori:entry:one", "since", int(rig.bench.now() * 1000) + 5000)
    other.publish(daily)
    assert other.look().states == {}


def test_applications_that_share_queues_keep_their_entries(rig: Rig) -> None:
    mine, theirs = entry("mine"), entry("theirs")
    rig.publish(mine, by="c1")
    rig.publish(theirs, by="c2", modules=["else"])
    assert rig.publish(by="c3", modules=[]) == 0, "one without any, as for rq's jobs"
    assert rig.names() == {"mine", "theirs"}
    assert rig.publish(by="c4") == 1, "newer code of the first, without entries"
    assert rig.names() == {"theirs"}
    rig.publish(by="c5", modules=["else"])
    assert rig.names() == set()
    rig.go(mine, by="c1")
    rig.go(theirs, by="c2", modules=["else"])
    rig.look()
    assert not rig.bench.redis.exists("rq:heori:schedules", f"rq:heori:schedule:{SERVICE}")
    assert not rig.bench.lead().has_schedule


def test_nothing_is_sent_for_code_that_no_consumer_has(rig: Rig) -> None:
    one = entry("one", catch_up="all")
    rig.publish(one)
    last = rig.last("one")
    assert rig.bench.lead().has_schedule
    rig.go(one)
    look = rig.look()
    assert (look.versions, look.states) == ("", {})
    shown = rig.bench.execute(rig.bench.commands.read_schedule(SERVICE))
    [version] = shown.versions
    assert (version.lives, [ScheduleEntry.unpack(each) for each in version.entries]) == (
        False,
        [one],
    )
    rig.publish(one, by="c2")
    assert rig.last("one") == last, "what was missed meanwhile can be made up for"


def test_the_leader_catches_up_in_parts_and_another_one_sends_nothing_more(
    rig: Rig, redis_url: str
) -> None:
    entries = [entry("all", catch_up="all"), entry("once"), entry("none", catch_up="none")]
    for each in entries:
        rig.publish(*entries)
        rig.look()
        rig.put_back(each.name, 250_000)
    start = {each.name: rig.last(each.name) for each in entries}

    async def lead() -> list[Ticker]:
        contexts = [context_of(redis_url, "default", name=name) for name in ("c1", "c2")]
        tickers = [Ticker(context, Leadership(context), lambda: ()) for context in contexts]
        for ticker in (*tickers, *tickers):  # each of them takes itself for the leader
            while await ticker._look() == 0.0:
                pass
        for context in contexts:
            await context.redis.close()
        return tickers

    first, second = asyncio.run(lead())
    sent = rig.bench.queue()
    assert (
        len(sent)
        == len(set(sent))
        == sum(counts[name, "sent"] for counts in (first.counts, second.counts) for name in start)
    )
    ticks = [job_id for job_id in sent if job_id.startswith("all-")]
    expected = (rig.last("all") - start["all"] // 1000 * 1000) // 1000
    assert len(ticks) == expected >= 250
    assert ticks == sorted(ticks), "the oldest first"
    assert first.counts["once", "missed"] >= 249
    assert first.counts["none", "missed"] >= 249
    assert first.counts["all", "missed"] == 0
