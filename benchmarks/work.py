"""What users really run: a mail, a thumbnail, an import of JSON and a webhook.

Each as an application would write it; what it needs is imported when it first runs, so that no
other measurement loads it.
"""

import io
import os
import time
from functools import cache
from typing import Any

from benchmarks.tasks import record

HOOK = "BENCH_HOOK"  # the environment variable that says where webhooks go: host:port
SMTP = 0.02  # seconds that a mail server takes
PICTURE = (800, 600)  # pixels
THUMBNAIL = (160, 120)
ROWS = 700  # of an import: about 2 ms of CPU
GREETING = """<html><body><h1>Dear {{ name }},</h1><p>your order {{ number }}:</p><table>
{% for item in items %}<tr><td>{{ item.title }}</td><td>{{ "%.2f"|format(item.price) }}</td></tr>
{% endfor %}</table><p>Total: {{ "%.2f"|format(items|sum(attribute="price")) }}</p></body></html>"""


def mail(number: int) -> int:
    """Render a letter, and wait for a mail server to take it."""
    record(number)
    letter = _letter(number)
    time.sleep(SMTP)
    return len(letter)


async def mail_async(number: int) -> int:
    """The same in an event loop."""
    import asyncio  # noqa: PLC0415

    record(number)
    letter = _letter(number)
    await asyncio.sleep(SMTP)
    return len(letter)


def thumbnail(number: int) -> int:
    """Scale a photograph, from JPEG to JPEG."""
    from PIL import Image  # noqa: PLC0415

    record(number)
    small = io.BytesIO()
    with Image.open(io.BytesIO(_photograph())) as picture:
        picture.thumbnail(THUMBNAIL)
        picture.save(small, "JPEG")
    return small.tell()


def import_json(number: int) -> int:
    """Read and check the rows of an export."""
    record(number)
    adapter, export = _export()
    return sum(row.amount for row in adapter.validate_json(export))


def webhook(number: int) -> int:
    """Tell another service, and wait for its answer."""
    import http.client  # noqa: PLC0415

    record(number)
    connection = http.client.HTTPConnection(os.environ[HOOK])
    try:
        connection.request("POST", "/", _event(number), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


async def webhook_async(number: int) -> int:
    """The same in an event loop, with what the standard library has for one."""
    import asyncio  # noqa: PLC0415

    record(number)
    host, _, port = os.environ[HOOK].partition(":")
    event = _event(number)
    head = f"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(event)}\r\n\r\n"
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(head.encode() + event)
        status = await reader.readline()
        await reader.readuntil(b"\r\n\r\n")
        return int(status.split()[1])
    finally:
        writer.close()


WORK = (mail, thumbnail, import_json, webhook)
WORK_ASYNC = (mail_async, webhook_async)  # of those that wait


def _event(number: int) -> bytes:
    return b'{"event": "order.paid", "order": %d}' % number


def _letter(number: int) -> str:
    items = [{"title": f"Article <{row}>", "price": row + number % 7} for row in range(10)]
    return str(_template().render(name="A. N. Other", number=number, items=items))


@cache
def _template() -> Any:
    from jinja2 import Environment  # noqa: PLC0415

    return Environment(autoescape=True).from_string(GREETING)


@cache
def _photograph() -> bytes:
    """Noise over a gradient, about as hard to decode as a photograph."""
    from PIL import Image  # noqa: PLC0415

    gradient = Image.linear_gradient("L").resize(PICTURE)
    picture = Image.merge("RGB", [gradient, Image.effect_noise(PICTURE, 40), gradient])
    photograph = io.BytesIO()
    picture.save(photograph, "JPEG", quality=85)
    return photograph.getvalue()


@cache
def _export() -> tuple[Any, bytes]:
    import random  # noqa: PLC0415
    from datetime import datetime  # noqa: PLC0415

    from pydantic import BaseModel, TypeAdapter  # noqa: PLC0415

    class Row(BaseModel):
        id: int
        at: datetime
        customer: str
        amount: int
        tags: list[str]

    chance = random.Random(0)
    rows = ",".join(
        f'{{"id": {number}, "at": "2026-11-{chance.randint(1, 30):02}T12:00:00Z", '
        f'"customer": "customer-{chance.randrange(1000)}", "amount": {chance.randrange(10_000)}, '
        '"tags": ["new", "paid"]}'
        for number in range(ROWS)
    )
    return TypeAdapter(list[Row]), f"[{rows}]".encode()
