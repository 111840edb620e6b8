"""The options of a Redis URL, as redis-py, rq and Celery spell them."""

import re
from urllib.parse import parse_qsl

from heori_common.duration import LONGEST_S
from heori_common.names import unseen

# redis-py's names, which it takes as they are.
_TLS = {
    "ssl_ca_certs",
    "ssl_ca_data",
    "ssl_ca_path",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_check_hostname",
    "ssl_ciphers",
    "ssl_keyfile",
    "ssl_min_version",
    "ssl_password",
}
_CONNECTION = {
    "client_name",
    "db",
    "password",
    "socket_connect_timeout",
    "socket_keepalive",
    "socket_timeout",
    "username",
}
# Heori's: a file with a password, which is read for each connection.
_FILES = {"password_file"}
_SENTINELS = {"sentinel_password", "sentinel_password_file", "sentinel_username"}
# How redis-py's own clients pool connections, try again and decode. Heori's do it their way, and
# what rq reads must not be decoded; so these may stand there and have no effect.
_WITHOUT_EFFECT = {
    "decode_responses",
    "encoding",
    "encoding_errors",
    "health_check_interval",
    "max_connections",
    "protocol",
    "retry_on_error",
    "retry_on_timeout",
    "timeout",
}
_SECONDS = {"socket_connect_timeout", "socket_timeout"}
_SWITCHES = {"socket_keepalive", "ssl_check_hostname"}
_VERIFY = {"none", "optional", "required"}
_VERSIONS = {"769": "1.0", "770": "1.1", "771": "1.2", "772": "1.3"}  # as ssl.TLSVersion has them


def read_options(query: str, *, tls: bool, sentinels: bool = False) -> dict[str, str]:
    """Read what stands after the question mark; without what has no effect here.

    Args:
        tls: whether the URL asks for TLS.
        sentinels: whether it names sentinels.

    Raises:
        ValueError: one of the options does not fit. Its value is not told.
    """
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in _TLS and not tls:
            raise ValueError(f"{name} is about TLS, for which the URL begins with rediss")
        if name in ("ssl", "tls"):
            raise ValueError(f"TLS is asked for by rediss in place of redis, not by {name}")
        if name in _TLS | _CONNECTION | _FILES or (sentinels and name in _SENTINELS):
            options[name] = _value(name, value)
        elif name not in _WITHOUT_EFFECT:
            # Without its name where it may be the rest of a password with a question mark in it.
            known = name if re.fullmatch(r"[a-z]+(_[a-z]+)*", name) and "@" not in query else "one"
            raise ValueError(
                f"among its options is {known} that is not known; ? in a password is written %3F"
            )
    if "ssl_keyfile" in options and "ssl_certfile" not in options:
        raise ValueError("ssl_keyfile has no certificate: ssl_certfile is missing")
    return options


def _value(name: str, value: str) -> str:
    if name == "ssl_cert_reqs":  # Celery says CERT_NONE
        value = value.lower().removeprefix("cert_")
        if value not in _VERIFY:
            raise ValueError(f"{name} must be none, optional or required")
    elif name == "db" and not is_database(value):
        raise ValueError("db must be a number, of a database")
    elif name in _SECONDS and not (
        re.fullmatch(r"\d+(\.\d+)?", value) and 0 < float(value) <= LONGEST_S
    ):
        raise ValueError(f"{name} must be a number of seconds, and not 0")
    elif name == "client_name" and (unseen(value) or " " in value):
        raise ValueError(f"{name} must be made of characters that can be seen, without blanks")
    elif name in _SWITCHES and value.lower() not in ("0", "1", "false", "no", "true", "yes"):
        raise ValueError(f"{name} must be true or false")
    elif name == "ssl_min_version" and value not in _VERSIONS:
        known = ", ".join(f"{number} (TLS {of})" for number, of in _VERSIONS.items())
        raise ValueError(f"{name} must be one of {known}")
    return value


def is_database(text: str) -> bool:
    """Whether this is the number of a database."""
    return text.isascii() and text.isdigit() and len(text) < 10
