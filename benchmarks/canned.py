"""Answers each path with a file of its name: ``python -m benchmarks.canned FOLDER`` prints its URL.

It speaks for the HTTP servers of a crowd. One thread for all: a thread for each of thousands would
take the cores from whoever asks.
"""

import asyncio
import sys
from pathlib import Path
from urllib.parse import urlsplit


async def serve(bodies: dict[str, bytes]) -> None:
    """Answer, for ever.

    Args:
        bodies: by their paths.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            body = bodies[urlsplit(head.split(b" ", 2)[1].decode()).path]
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
    folder = Path(sys.argv[1])
    asyncio.run(serve({f"/{file.name}": file.read_bytes() for file in folder.iterdir()}))
