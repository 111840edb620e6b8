"""What names may look like, wherever a name is given."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from rq import Queue

from heori import LockOwner, Mutex, Producer, RedisExecutor, Semaphore, UnknownTask, task
from heori_common import names, resolution
from heori_common.errors import InvalidSetting, cut, short, summary
from heori_common.locks.templates import LockTemplates
from heori_common.printable import printable
from heori_common.redis.address import Address
from heori_common.settings import Settings
from heori_consumer.supervisor.queue_order import parse_queues
from tests.tasks import sample_tasks

URL = "redis://127.0.0.1:1/0"
# Controls of C0 and C1 (U+009B begins an escape, too), formats that have no width or turn the
# direction of writing, lone surrogates, and what ends lines.
UNSEEN = ["\0", "\x1b[31m", "\x7f", "\x9b31m", "\b", "\u202e", "\u2066", "\u200b", "\ufeff", "\xad",
          "\U000e0041", "\ud800", "\udc9b", "\n", "\r", "\x85", "\u2028", "\u2029"]  # fmt: skip
SEEN = [
    "app:high",
    "주문",
    "заказы",
    "naïve",
    "注文",
    "\U0001f600",
    "a-b_c.d",
    "orders{1}",
    "%1b",
    "'\"",
]


def mutex(name: Any) -> Mutex:
    return Mutex(name, URL)


def locks_of(name: str) -> object:
    return LockTemplates(lambda name: None, ["{name}"], None).fill_in([name], {})


def encoded(name: str) -> str:
    try:
        return quote(name, safe="")
    except UnicodeEncodeError:  # which no URL can have encoded
        return quote(name, safe="", errors="replace") + "%00"


GIVEN: dict[str, Callable[[str], object]] = {
    "queue": names.check_queue,
    "tenant": names.check_tenant,
    "queue of a task": lambda name: task(queue=name),
    "queue with a weight": lambda name: parse_queues([f"{name}=3"]),
    "queue of an executor": lambda name: RedisExecutor(URL, queue=name),
    "HEORI_QUEUE_LIMITS": lambda name: Settings(queue_limits=f".{name}.=5"),  # type: ignore[arg-type]
    "mutex": mutex,
    "semaphore": lambda name: Semaphore(name, 2, URL),
    "owner": LockOwner,
    "lock of a task": locks_of,
    "template": lambda name: LockTemplates(lambda: None, [name], None),
    "permits of a task": lambda name: LockTemplates(lambda: None, [], {name: 2}),
    "task": lambda name: resolution.resolve(name, [name]),
    "HEORI_TASKS": lambda name: Settings(tasks=(name,)),
    "HEORI_MIDDLEWARE": lambda name: Settings(middleware=(name,)),
    "HEORI_API_HOST": lambda name: Settings(api_host=name),
    "HEORI_METRICS_HOST": lambda name: Settings(metrics_host=name),
    "RQ_KEY_PREFIX": lambda name: Settings(key_prefix=name),
    "host of a URL": lambda name: Address.parse(f"redis://{name}:6379/0"),
    "option of a URL": lambda name: Address.parse(f"redis://h/0?client_name={name}"),
    "path of a URL": lambda name: Address.parse(f"unix:///run/{name}"),
    "host of a URL, encoded": lambda name: Address.parse(f"redis://{encoded(name)}/0"),
    "option of a URL, encoded": lambda name: Address.parse(
        f"redis://h?client_name={encoded(name)}"
    ),
    "primary of a URL, encoded": lambda name: Address.parse(f"redis+sentinel://h/{encoded(name)}"),
    "primary of a URL": lambda name: Address.parse(f"redis+sentinel://h/{name}"),
}


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
def test_a_character_that_cannot_be_seen_is_refused_in_every_name(
    given: Callable[[str], object],
) -> None:
    for name in (form.format(each) for each in UNSEEN for form in ("a{}b", "{}ab", "ab{}")):
        with pytest.raises((ValueError, UnknownTask)) as refused:
            given(name)
        told = str(refused.value)
        assert told.isprintable()
        assert len(told) < 400


@pytest.mark.parametrize("name", SEEN)
def test_names_that_can_be_read_are_names(name: str) -> None:
    assert names.check_queue(name) == name
    assert names.check_name("key", f"{name} {name}") == f"{name} {name}"
    for given in ("owner", "lock of a task", "queue of an executor"):
        GIVEN[given](name)


@pytest.mark.parametrize("name", ["app:high", "my queue", "a@b", "@a", "a=3", "a/b", "{a}"])
def test_a_queue_may_have_each_name_that_rq_allows(
    name: str, redis: Any, producer: Producer
) -> None:
    """All but commas, which RQ's own record of a consumer has between them, and Heori's @@."""
    assert names.check_queue(name) == name
    producer.options(queue=name).submit(sample_tasks.add, 1, 2)
    producer.options(queue=name, tenant="@b").submit(sample_tasks.add, 1, 2)
    assert Queue(name, connection=redis).count == 1
    assert Queue(f"{name}@@@b", connection=redis).count == 1
    turns = redis.zrange(f"rq:queue:{name}@@", 0, -1)
    assert turns == [b"@b"]


@pytest.mark.parametrize("name", ["", "a,b", "a@@b", "a@", "@@", "a:intermediate"])
def test_a_queue_whose_name_makes_other_keys_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="queue"):
        names.check_queue(name)


@pytest.mark.parametrize("name", [5, None, b"a", ["a"], True])
def test_a_name_is_a_text(name: Any) -> None:
    for check in (names.check_queue, names.check_tenant, mutex, LockOwner):
        with pytest.raises(TypeError, match="the name must be a string"):
            check(name)


def test_what_producers_are_given_is_checked_before_anything_is_sent(
    producer: Producer, redis: Any
) -> None:
    for option in ("queue", "tenant", "key"):
        for unseen in ("\x1b[31m", "\0", "\u202e", "\ud800"):
            given: dict[str, Any] = {option: f"a{unseen}"}
            with pytest.raises(ValueError, match=f"^{option} .*: the name has '.*' in it"):
                producer.options(**given)
    assert redis.keys("*") == []


def test_a_setting_of_the_environment_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable, name in (("HEORI_TASKS", "tasks"), ("HEORI_API_HOST", "api_host")):
        monkeypatch.setenv(variable, "my\x1b[31mapp")
        with pytest.raises(InvalidSetting, match=rf"^{variable}: .*the name has '\\x1b' in it"):
            getattr(Settings(), name)


# Shown


@pytest.mark.parametrize("unseen", UNSEEN, ids=ascii)
def test_what_comes_from_elsewhere_is_shown_escaped(unseen: str) -> None:
    class Odd:
        def __repr__(self) -> str:
            return f"<{unseen}>"

    for text in (
        printable(unseen),
        short(unseen),
        short(Odd()),
        cut(unseen),
        summary(OSError(unseen)),
    ):
        assert text.isprintable()
    # The one is a byte that was no UTF-8.
    shown = r"\x9b" if unseen == "\udc9b" else ascii(unseen)[1:-1]
    assert printable(f"a{unseen}주문") == f"a{shown}주문"


@pytest.mark.parametrize(
    "value",
    ["x" * 10**6, 10**400, 10**5000, ["x"] * 10**6, {1: "y" * 10**6}, "\x1b" * 10**6],
    ids=["text", "number", "too many digits", "list", "dict", "controls"],
)
def test_a_value_is_cut_in_a_message(value: Any) -> None:
    assert len(short(value)) <= 100
    text = value if isinstance(value, str) else "a" * 10**6
    assert len(cut(text)) == 100
    assert len(cut(text[:100])) == 100
    assert len(summary(ValueError(text))) == 300
