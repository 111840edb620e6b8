"""The languages of the page: English, which is written in the templates, and Korean."""

import re
import tomllib
from functools import cache
from pathlib import Path

from starlette.requests import Request

from heori import formats

NONE = "\u2013"  # in place of what there is not
COOKIE = "heori_language"
NAMES = {"en": "English", "ko": "한국어"}
_UNITS = {"ms": "밀리초", "s": "초", "min": "분", "h": "시간", "d": "일"}


class Language:
    """One of them.

    Attributes:
        code: en or ko, as in HTML.
    """

    def __init__(self, code: str) -> None:
        self.code = code
        self._words = translations(code)

    def __call__(self, text: str, /, **values: object) -> str:
        """A text in this language, with its values; one that is not translated stays English."""
        told = self._words.get(text, text)
        return told.format(**values) if values else told

    def duration(self, seconds: float | None) -> str:
        """A length of time; a dash for none."""
        if seconds is None:
            return NONE
        text = formats.duration(seconds)
        if self.code == "en":
            return text
        return re.sub(r" (ms|s|min|h|d)\b", lambda unit: _UNITS[unit[1]], text)

    def ago(self, seconds: float | None) -> str:
        """How long ago something was, or when it will be."""
        if seconds is None:
            return NONE
        length = round(abs(seconds))
        if not length:
            return self("now")
        told = self.duration(length) if length >= 60 else f"{length} s"
        if self.code == "ko" and length < 60:
            told = f"{length}초"
        if seconds < 0:
            return self("in {time}", time=told)
        return self("{time} ago", time=told)


@cache
def translations(code: str) -> dict[str, str]:
    """The texts of a language, by the English ones."""
    if code == "en":
        return {}
    with (Path(__file__).parent / f"{code}.toml").open("rb") as file:
        return tomllib.load(file)


def chosen(request: Request) -> Language:
    """The language that somebody has chosen, or else that their browser asks for."""
    named = request.cookies.get(COOKIE, "")
    if named not in NAMES:
        asked = request.headers.get("accept-language", "")
        wanted = [part.partition(";")[0].strip()[:2].lower() for part in asked.split(",")[:20]]
        named = next((code for code in wanted if code in NAMES), "en")
    return Language(named)
