"""Where webhooks go: ``python -m benchmarks.hook SECONDS AT_ONCE`` answers each after so long.

It says its address, and ends with its standard input.
"""

import asyncio
import sys


async def serve(seconds: float, at_once: int) -> None:
    """Answer until standard input ends."""
    free = asyncio.Semaphore(at_once)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = head.partition(b"content-length:")[2].split(b"\r\n", 1)[0]
            await reader.readexactly(int(length))
            async with free:
                await asyncio.sleep(seconds)
            writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # whoever asked has gone
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=4096)
    print(":".join(map(str, server.sockets[0].getsockname()[:2])), flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1]), int(sys.argv[2])))
