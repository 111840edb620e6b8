"""The URL of what a redis-py client is connected to: Heori makes connections of its own to it."""

import ssl
from typing import Any
from urllib.parse import quote, urlencode

import redis
from redis.connection import ConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.sentinel import SentinelConnectionPool, SentinelManagedSSLConnection

from heori_common.redis.address import SENTINEL_PORT, endpoint

_TLS = ("ssl_ca_certs", "ssl_ca_data", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_password")
_VERIFY = {ssl.CERT_NONE: "none", ssl.CERT_OPTIONAL: "optional", ssl.CERT_REQUIRED: "required"}
# What a URL cannot say, by the name under which redis-py takes it.
_UNTOLD = ("credential_provider", "redis_connect_func", "ssl_context", "ssl_validate_ocsp")


class NoUrl(ValueError):
    """A connection that no URL describes; the message says why."""


def url_of(client: Any) -> str:
    """The URL, with its password.

    Args:
        client: rq's connection.

    Raises:
        NoUrl: there is none.
    """
    if not isinstance(client, redis.Redis):
        raise NoUrl(f"its connection is a {type(client).__qualname__}, and no redis.Redis")
    pool = client.connection_pool
    told = pool.connection_kwargs
    if missing := [name for name in _UNTOLD if told.get(name)]:
        raise NoUrl(f"its connection has a {missing[0]}, which no URL can name")
    if isinstance(pool, SentinelConnectionPool):
        return _of_sentinels(pool)
    if not issubclass(type(pool), ConnectionPool):
        raise NoUrl(f"its connections are of a {type(pool).__qualname__}")
    login = _login(told.get("username"), told.get("password"))
    database = told.get("db") or 0
    options = _tls_options(told)
    if issubclass(pool.connection_class, UnixDomainSocketConnection):
        return f"unix://{login}{quote(told['path'])}?{urlencode({'db': database, **options})}"
    is_tls = issubclass(pool.connection_class, SSLConnection)
    host = told.get("host") or "localhost"
    at = endpoint(host, told.get("port") or 6379)
    query = f"?{urlencode(options)}" if is_tls and options else ""
    return f"{'rediss' if is_tls else 'redis'}://{login}{at}/{database}{query}"


def _of_sentinels(pool: SentinelConnectionPool) -> str:
    told = pool.connection_kwargs
    is_tls = issubclass(pool.connection_class, SentinelManagedSSLConnection)
    options = _tls_options(told) if is_tls else {}
    endpoints = []
    for sentinel in pool.sentinel_manager.sentinels:
        of_it = sentinel.connection_pool.connection_kwargs
        host = of_it.get("host") or "localhost"
        endpoints.append(endpoint(host, of_it.get("port") or SENTINEL_PORT))
        for name in ("username", "password"):
            if of_it.get(name):
                options[f"sentinel_{name}"] = of_it[name]
    login = _login(told.get("username"), told.get("password"))
    where = f"{','.join(endpoints)}/{quote(pool.service_name, safe='')}/{told.get('db') or 0}"
    query = f"?{urlencode(options)}" if options else ""
    return f"redis{'s' if is_tls else ''}+sentinel://{login}{where}{query}"


def _login(username: str | None, password: str | None) -> str:
    if not username and not password:
        return ""
    secret = f":{quote(password, safe='')}" if password else ""
    return f"{quote(username or '', safe='')}{secret}@"


def _tls_options(told: dict[str, Any]) -> dict[str, str]:
    options = {name: str(told[name]) for name in _TLS if told.get(name)}
    if (verify := told.get("ssl_cert_reqs")) is not None:
        options["ssl_cert_reqs"] = _VERIFY.get(verify, verify)
    if "ssl_check_hostname" in told:
        options["ssl_check_hostname"] = str(told["ssl_check_hostname"]).lower()
    return options
