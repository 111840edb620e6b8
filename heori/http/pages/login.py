"""Who may see the page: a token opens a session. And in which language they read."""

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from heori.http.pages import languages
from heori.http.pages.site import Site
from heori.http.tokens import SESSION, SESSION_S

YEAR_S = 365 * 24 * 3600


def add(app: FastAPI, site: Site) -> None:
    """Add them."""
    path = f"{site.backend.root}/"

    @app.get("/login", include_in_schema=False)
    def login(request: Request, next: str = "/") -> Response:  # noqa: A002 - a name in addresses
        return site.render(request, "login.html", to=next, wrong=False)

    @app.post("/login", include_in_schema=False)
    async def open_session(request: Request) -> Response:
        form = await site.form(request)
        to = form.get("next", "/")
        cookie = site.tokens.open_session(form.get("token", "").strip())
        if cookie is None:
            return site.render(request, "login.html", 401, to=to, wrong=True)
        answer = RedirectResponse(site.url(_ours(to)), 303)
        answer.set_cookie(
            SESSION,
            cookie,
            max_age=SESSION_S,
            path=path,
            httponly=True,
            secure=request.url.scheme == "https",
            samesite="strict",
        )
        return answer

    @app.post("/logout", include_in_schema=False)
    def close_session() -> Response:
        answer = RedirectResponse(site.url("/login"), 303)
        answer.delete_cookie(SESSION, path=path, httponly=True, samesite="strict")
        return answer

    @app.post("/language", include_in_schema=False)
    async def choose_language(request: Request) -> Response:
        form = await site.form(request)
        answer = RedirectResponse(site.url(_ours(form.get("next", "/"))), 303)
        if form.get("language") in languages.NAMES:
            answer.set_cookie(
                languages.COOKIE, form["language"], max_age=YEAR_S, path=path, samesite="lax"
            )
        return answer


def _ours(to: str) -> str:
    """An address of this service, and of no other: to browsers, two slashes begin a host."""
    is_ours = to.startswith("/") and to[1:2] not in ("/", "\\") and to.isprintable()
    return to if is_ours else "/"
