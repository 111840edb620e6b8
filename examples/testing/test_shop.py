"""How an application tests what it sends, and what its tasks do. Run it with `pytest`."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

import pytest
import shop
from freezegun import freeze_time

from heori import InvalidArguments, JobFailed, Producer, RedisExecutor
from heori.testing import Recording, RunningConsumer, inline


def test_a_job_and_what_it_sends(heori_inline: Recording) -> None:
    shop.place_order(17, [Decimal("1.10"), Decimal("2.20")])

    heori_inline.assert_sent(shop.total, prices=[Decimal("1.10"), Decimal("2.20")])
    sent = heori_inline.options(queue="slow-mail", delay=300).assert_sent(
        shop.send_mail, "ada@example.org", "Order 17: 3.30"
    )
    assert sent.handle.result() == "Order 17: 3.30 to ada@example.org"
    heori_inline.assert_not_sent(shop.place_order)
    heori_inline.options(queue="mail").assert_not_sent(shop.send_mail)
    with pytest.raises(AssertionError, match=r"was not sent; sent were:\n .*shop\.total"):
        heori_inline.assert_sent(shop.send_mail, "bob@example.org", "Hello")


def test_arguments_errors_and_retries() -> None:
    with inline(), Producer() as producer:
        with pytest.raises(InvalidArguments, match="to: Input should be a valid string"):
            producer.submit(shop.send_mail, 17, "Hello")  # type: ignore[arg-type]
        failed = producer.submit(shop.send_mail, "nobody", "Hello")
        assert failed.status() == "failed"
        with pytest.raises(JobFailed, match="ValueError: nobody is no address"):
            failed.result()
        assert producer.submit(shop.send_mail, "busy@example.org", "Hello").status() == "finished"
        once = producer.options(key="welcome")
        first = once.submit(shop.send_mail, "ada@example.org", "Hello")
        assert once.submit(shop.send_mail, "ada@example.org", "Hello").id == first.id


def test_in_an_event_loop_and_with_an_executor(heori_inline: Recording) -> None:
    async def sums() -> Decimal:
        with Producer() as producer:
            return await producer.submit(shop.total, [Decimal(1), Decimal(2)])

    assert asyncio.run(sums()) == 3
    with RedisExecutor() as executor:
        assert executor.submit(shop.total, [Decimal(3)]).result() == 3
    assert len(heori_inline.to(shop.total)) == 2


@freeze_time("2030-01-01 12:00")
def test_time_stands_still(heori_inline: Recording) -> None:
    with Producer() as producer:
        handle = producer.send("shop.send_mail", "ada@example.org", "Hello", "2030-01-01T12:00Z")
    assert handle.result(timeout=10) == "Hello to ada@example.org at 12:00"
    now = datetime.now(UTC)
    heori_inline.assert_sent(shop.send_mail, "ada@example.org", "Hello", written=now)


@freeze_time("2030-01-01")
@pytest.mark.parametrize("model", ["threads"])  # or heori.testing.MODELS, for all of them
def test_with_a_server_and_a_consumer(
    model: str,
    heori_consume: Callable[..., RunningConsumer],
    heori_producer: Producer,
    heori_sent: Recording,
) -> None:
    heori_consume("shop", model=model)
    heori_producer.submit(shop.place_order, 17, [Decimal("1.10")]).result(timeout=60)
    heori_sent.assert_sent(shop.place_order, 17, [Decimal("1.10")])
    heori_sent.assert_not_sent(shop.total)  # the consumer has sent it, and not this program


@pytest.mark.parametrize("number", [1, 2])
def test_each_begins_with_an_empty_server(number: int, heori_producer: Producer) -> None:
    handle = heori_producer.options(key="the same").submit(shop.total, [Decimal(number)])
    assert handle.status() == "queued"
