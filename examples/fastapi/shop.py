"""The tasks of the FastAPI example."""

import asyncio

from heori import current_job, task


@task(queue="reports", timeout=60)
async def report(pages: int) -> str:
    """Write pages, and tell how far it is."""
    for page in range(1, pages + 1):
        await asyncio.sleep(0.01)  # the work
        current_job().progress(page / pages, f"page {page}")
    return f"{pages} pages"
