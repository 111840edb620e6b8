"""Answers every request with the same: ``python -m benchmarks.canned FILE``, which prints its URL.

It speaks for the HTTP servers of a crowd. One thread for all: a thread for each of thousands would
take the cores from whoever asks.
"""

import asyncio
import sys
from pathlib import Path


async def serve(body: bytes) -> None:
    """Answer, for ever."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + body)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # whoever asked has gone
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=4096)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]).read_bytes()))
