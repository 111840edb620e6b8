"""Where Redis is, as RQ's own commands are told: a URL, a module of settings, the environment."""

import importlib
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from heori_common.redis.address import SENTINEL_PORT, endpoint

_VARIABLES = ("REDIS_URL", "REDIS_HOST", "REDIS_PORT", "REDIS_DB", "REDIS_PASSWORD", "REDIS_SSL")


def read_config(module: str) -> dict[str, Any]:
    """What a module of RQ's settings says: all its names in upper case.

    Raises:
        ImportError: there is none of that name, or whatever it raises itself.
    """
    return {
        name: value
        for name, value in vars(importlib.import_module(module)).items()
        if name.isupper()
    }


def redis_url(url: str | None, config: Mapping[str, Any] | None) -> str | None:
    """The server's URL; None where nothing of RQ's says it.

    Args:
        url: from the command line, or from RQ_REDIS_URL.
        config: what the module of settings says, if one is named.

    Raises:
        ValueError: REDIS_SSL is neither true nor false.
    """
    if url is not None:
        return url
    if config is not None:
        return _of(config)
    if os.environ.get("HEORI_REDIS_URL"):
        return None
    return _of(os.environ) if any(name in os.environ for name in _VARIABLES) else None


def _of(said: Mapping[str, Any]) -> str:
    if said.get("REDIS_URL") is not None:
        return str(said["REDIS_URL"])
    sentinel = said.get("SENTINEL")
    if isinstance(sentinel, Mapping):
        return _of_sentinels(sentinel)
    options = {
        "ssl_ca_certs": said.get("REDIS_SSL_CA_CERTS"),
        "ssl_cert_reqs": said.get("REDIS_SSL_CERT_REQS"),
    }
    is_tls = _is_true(said.get("REDIS_SSL", False))
    place = endpoint(str(said.get("REDIS_HOST", "localhost")), int(said.get("REDIS_PORT", 6379)))
    login = _login(said.get("REDIS_USERNAME"), said.get("REDIS_PASSWORD"))
    return _join(is_tls, "", f"{login}{place}/{said.get('REDIS_DB', 0)}", options if is_tls else {})


def _of_sentinels(said: Mapping[str, Any]) -> str:
    more = {
        "db": said.get("DB", 0),
        "username": said.get("USERNAME"),
        "password": said.get("PASSWORD"),
        "socket_timeout": said.get("SOCKET_TIMEOUT"),
        "ssl": said.get("SSL", False),
        **said.get("CONNECTION_KWARGS", {}),
    }
    login = _login(more.pop("username"), more.pop("password"))
    sentinels = said.get("INSTANCES", [("localhost", SENTINEL_PORT)])
    places = ",".join(endpoint(host, port) for host, port in sentinels)
    of_sentinels = said.get("SENTINEL_KWARGS", {})
    for name in ("username", "password"):
        more[f"sentinel_{name}"] = of_sentinels.get(name)
    primary = quote(said.get("MASTER_NAME", "mymaster"), safe="")
    is_tls, database = _is_true(more.pop("ssl")), more.pop("db")
    return _join(is_tls, "+sentinel", f"{login}{places}/{primary}/{database}", more)


def _login(username: str | None, password: str | None) -> str:
    if username is None and password is None:
        return ""
    return f"{quote(username or '', safe='')}:{quote(password or '', safe='')}@"


def _join(is_tls: bool, kind: str, rest: str, options: Mapping[str, Any]) -> str:  # noqa: FBT001
    given = {name: value for name, value in options.items() if value is not None}
    return f"redis{'s' * is_tls}{kind}://{rest}" + (f"?{urlencode(given)}" if given else "")


def _is_true(value: Any) -> bool:
    """As RQ reads REDIS_SSL."""
    if not isinstance(value, str):
        return bool(value)
    if value.lower() in ("y", "yes", "t", "true"):
        return True
    if value.lower() in ("n", "no", "f", "false", ""):
        return False
    raise ValueError('REDIS_SSL is a boolean and must be "True" or "False".')
