"""`heori serve`: the page, and jobs over HTTP."""

import ipaddress
import sys
from typing import Annotated

import typer

from heori.cli.ending import refuse
from heori.plain import say
from heori_common import logs, outlet, task_modules
from heori_common.published import offered
from heori_common.settings import SERVICE, Settings

log = logs.get_logger(__name__)


def serve(
    *,
    host: Annotated[
        str | None, typer.Option(help="The address to listen on; by default HEORI_API_HOST.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="The port; by default HEORI_API_PORT. 0 is any free port."
        ),
    ] = None,
) -> None:
    """Show the page that Heori is operated by, and let programs send jobs over HTTP.

    The page is at /. There is a route for each task of HEORI_TASKS; /docs lists them with the
    schemas of their arguments. A program names one of HEORI_API_TOKENS, and people log in with one;
    those of HEORI_API_READ_TOKENS may only look. Without tokens, only requests from this machine
    are answered. When a queue is at its limit the answer is 429, unless HEORI_WHEN_FULL is
    drop_oldest.
    """
    try:
        from heori.http import server  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name not in ("fastapi", "jinja2", "starlette", "uvicorn"):
            raise
        refuse("heori serve needs FastAPI, Jinja2 and uvicorn: pip install 'heori[serve]'")
    settings = Settings()
    host = host or settings.api_host
    if not settings.api_tokens and not _is_loopback(host):
        refuse(
            f"{host} can be reached from other machines; set HEORI_API_TOKENS to the tokens that "
            "callers must name, or listen on 127.0.0.1"
        )
    outlet.never_wait()
    logs.configure(as_json=not sys.stderr.isatty(), level=settings.log_level)
    settings.check(SERVICE)
    try:
        empty = task_modules.load(settings.tasks)
    except ImportError as error:
        refuse(f"HEORI_TASKS cannot be imported: {error}")
    if not offered(settings.tasks):
        log.warning("no task is offered", reason="HEORI_TASKS names no module with @task functions")
    for sentence in empty:
        log.warning("a module of HEORI_TASKS has no task", reason=sentence)
    try:
        most = server.most_connections()
        listening = server.listen(host, settings.api_port if port is None else port)
    except ValueError as error:
        refuse(str(error))
    except OSError as error:
        refuse(f"cannot listen on {host}: {error.strerror}; --port 0 takes any free port")
    with listening:
        named = f"[{host}]" if ":" in host else host
        say(f"serving on http://{named}:{listening.getsockname()[1]}", error=True)
        server.run(settings, listening, most)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
