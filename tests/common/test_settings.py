"""What the environment asks for."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py
from pydantic import SecretStr, ValidationError

from heori import InvalidSetting, Producer
from heori_common.settings import CONSUMER, PRODUCER, SERVICE, Settings, variable_of
from tests.rigs.commands import run_heori
from tests.rigs.consumers import Consumer
from tests.tasks import sample_tasks

ROOT = Path(__file__).parents[2]


VARIABLES: dict[str, tuple[str, str, Any]] = {
    "redis_url": ("HEORI_REDIS_URL", "rediss://example.org:6380/1", "rediss://example.org:6380/1"),
    "key_prefix": ("RQ_KEY_PREFIX", "{acme}:rq-1_a.b", "{acme}:rq-1_a.b"),
    "tasks": ("HEORI_TASKS", " a.b, c ,,", ("a.b", "c")),
    "allow": ("HEORI_ALLOW", "myapp, other.", ("myapp.", "other.")),
    "accept": ("HEORI_ACCEPT", "json,pickle", ("json", "pickle")),
    "pickle": ("HEORI_PICKLE", "unrestricted", "unrestricted"),
    "records": ("HEORI_RECORDS", "strict", "strict"),
    "middleware": ("HEORI_MIDDLEWARE", "a.B,c.D", ("a.B", "c.D")),
    "strict": ("HEORI_STRICT", "1", True),
    "log_level": ("HEORI_LOG_LEVEL", "Debug", "debug"),
    "lease": ("HEORI_LEASE", "1.5", 1.5),
    "max_deliveries": ("HEORI_MAX_DELIVERIES", "7", 7),
    "unknown_wait": ("HEORI_UNKNOWN_WAIT", "2.5", 2.5),
    "max_payload": ("HEORI_MAX_PAYLOAD", "123", 123),
    "metrics_port": ("HEORI_METRICS_PORT", "9100", 9100),
    "metrics_host": ("HEORI_METRICS_HOST", "0.0.0.0", "0.0.0.0"),
    "gil_source": ("HEORI_GIL_SOURCE", "estimate", "estimate"),
    "grace": ("HEORI_GRACE", "0", 0.0),
    "lend_slots": ("HEORI_LEND_SLOTS", "0", 0),
    "target_wait": ("HEORI_TARGET_WAIT", "2.5", 2.5),
    "deadlock": ("HEORI_DEADLOCK", "warn", "warn"),
    "queue_limits": ("HEORI_QUEUE_LIMITS", "orders=10, mail=5", {"orders": 10, "mail": 5}),
    "when_full": ("HEORI_WHEN_FULL", "reject", "reject"),
    "full_timeout": ("HEORI_FULL_TIMEOUT", "1.5", 1.5),
    "key_ttl": ("HEORI_KEY_TTL", "60", 60),
    "api_host": ("HEORI_API_HOST", "::1", "::1"),
    "api_port": ("HEORI_API_PORT", "0", 0),
    "api_tokens": (
        "HEORI_API_TOKENS",
        f"{'a' * 16}, {'b' * 16}",
        (SecretStr("a" * 16), SecretStr("b" * 16)),
    ),
    "api_max_body": ("HEORI_API_MAX_BODY", "1000", 1000),
    "api_read_tokens": (
        "HEORI_API_READ_TOKENS",
        "eve:0123456789abcdef",
        (SecretStr("eve:0123456789abcdef"),),
    ),
    "api_root": ("HEORI_API_ROOT", "/jobs/heori/", "/jobs/heori/"),
}
SECRET = ("redis_url", "api_tokens", "api_read_tokens")
BAD = [
    ("HEORI_REDIS_URL", "localhost:6379"),
    ("HEORI_REDIS_URL", "http://localhost"),
    ("RQ_KEY_PREFIX", "with blank"),
    ("RQ_KEY_PREFIX", "rq\n"),
    ("HEORI_ACCEPT", "json,yaml"),
    ("HEORI_LEASE", "0.5"),
    ("HEORI_LEASE", "soon"),
    ("HEORI_LEASE", "nan"),
    ("HEORI_LEASE", "inf"),
    ("HEORI_LOG_LEVEL", "loud"),
    ("HEORI_MAX_DELIVERIES", "0"),
    ("HEORI_MAX_DELIVERIES", "1.5"),
    ("HEORI_UNKNOWN_WAIT", "-1"),
    ("HEORI_MAX_PAYLOAD", "0"),
    ("HEORI_METRICS_PORT", "65536"),
    ("HEORI_METRICS_PORT", "-1"),
    ("HEORI_GIL_SOURCE", "guess"),
    ("HEORI_LEND_SLOTS", "-1"),
    ("HEORI_TARGET_WAIT", "0"),
    ("HEORI_DEADLOCK", "ignore"),
    ("HEORI_GRACE", "-1"),
    ("HEORI_GRACE", "inf"),
    ("HEORI_API_PORT", "65536"),
    ("HEORI_API_TOKENS", "short"),
    ("HEORI_API_TOKENS", "a-name-that-is-long:short"),
    ("HEORI_API_READ_TOKENS", "eve:short"),
    ("HEORI_API_ROOT", "heori"),
    ("HEORI_API_ROOT", "//other"),
    ("HEORI_API_ROOT", "/a b"),
    ("HEORI_API_MAX_BODY", "0"),
]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("HEORI_") or name == "RQ_KEY_PREFIX":
            monkeypatch.delenv(name)


def test_every_setting_has_a_default_a_description_and_a_row_above() -> None:
    # Which have their own tests.
    from_files = {"redis_password_file", "api_tokens_file", "api_read_tokens_file"}
    assert {*VARIABLES, *from_files} == set(Settings.model_fields)
    assert Settings() == Settings(redis_url="redis://127.0.0.1:6379/0", key_prefix="rq")
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert not field.is_required(), name


@pytest.mark.parametrize("name", VARIABLES)
def test_a_setting_is_read_from_its_variable_and_changes_nothing_else(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    variable, text, value = VARIABLES[name]
    default = Settings()
    assert getattr(default, name) != value
    monkeypatch.setenv(variable, text)
    monkeypatch.setenv("HEORI_SOMETHING_ELSE", "x")
    assert Settings() == default.model_copy(update={name: value})


@pytest.mark.parametrize("name", VARIABLES)
def test_a_setting_may_be_given_by_name_and_goes_before_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    variable, _, value = VARIABLES[name]
    monkeypatch.setenv(variable, str(Settings.model_fields[name].default))
    assert getattr(Settings(**{name: value}), name) == value


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://redis:6379/0", "redis://redis:6379/0?password_file=FILE"),
        ("redis://redis", "redis://redis?password_file=FILE"),
        ("rediss://ann@redis/1?db=1", "rediss://ann@redis/1?db=1&password_file=FILE"),
        ("redis://ann:own@redis", "redis://ann:own@redis"),
        ("redis://redis?password=own", "redis://redis?password=own"),
        ("redis://redis?password_file=/other", "redis://redis?password_file=/other"),
        ("unix:///run/valkey.sock?db=1", "unix:///run/valkey.sock?db=1&password_file=FILE"),
        (
            "redis+sentinel://one,two:1/main",
            "redis+sentinel://one,two:1/main?password_file=FILE&sentinel_password_file=FILE",
        ),
        (
            "redis+sentinel://:own@one/main/0?sentinel_password=theirs",
            "redis+sentinel://:own@one/main/0?sentinel_password=theirs",
        ),
        (
            "redis+sentinel://one/main/0?sentinel_password=theirs",
            "redis+sentinel://one/main/0?sentinel_password=theirs&password_file=FILE",
        ),
    ],
)
def test_a_password_file_is_named_where_the_url_has_no_password(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str, expected: str
) -> None:
    (tmp_path / "password").write_text("a/b@c\n")
    monkeypatch.setenv("HEORI_REDIS_PASSWORD_FILE", str(tmp_path / "password"))
    monkeypatch.setenv("HEORI_REDIS_URL", url)
    assert Settings().redis_url == expected.replace("FILE", str(tmp_path / "password"))
    assert "a/b" not in repr(Settings())


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_a_password_file_without_a_password_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "password").write_text(content)
    monkeypatch.setenv("HEORI_REDIS_PASSWORD_FILE", str(tmp_path / "password"))
    with pytest.raises(InvalidSetting, match="HEORI_REDIS_PASSWORD_FILE"):
        Settings().redis_url  # noqa: B018 - it is read


def test_a_name_that_is_no_setting_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="leese: there is no such setting"):
        Settings(leese=5)  # type: ignore[call-arg]


@pytest.mark.parametrize(("variable", "text"), BAD)
def test_a_value_that_does_not_fit_is_refused_with_the_settings_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str
) -> None:
    monkeypatch.setenv(variable, text)
    [name] = [name for name in Settings.model_fields if variable_of(name) == variable]
    settings = Settings()
    for read in (lambda: getattr(settings, name), lambda: settings.check([name])):
        with pytest.raises(InvalidSetting, match=f"^{variable}: .+") as caught:
            read()
    assert "\n" not in str(caught.value)
    assert ("got" in str(caught.value)) == (name not in SECRET)
    settings.check(set(Settings.model_fields) - {name})  # all others are as they are set


WRONG = {
    variable_of("lease"): "soon",
    variable_of("middleware"): "",
    variable_of("api_tokens"): "short",
    variable_of("max_deliveries"): "0",
}


def test_a_setting_is_read_only_by_what_uses_it(
    monkeypatch: pytest.MonkeyPatch, redis_url: str
) -> None:
    """A producer, and a command that only looks, go on beside a wrong setting of a consumer's."""
    for variable, text in WRONG.items():
        monkeypatch.setenv(variable, text)
    with Producer(redis_url) as producer:
        assert producer.submit(sample_tasks.add, 1).status() == "queued"
    assert run_heori(redis_url, "status").returncode == 0
    with pytest.raises(InvalidSetting) as caught:
        Settings().check(CONSUMER)
    assert [each.partition(":")[0] for each in str(caught.value).split("; ")] == [
        "HEORI_LEASE",
        "HEORI_MAX_DELIVERIES",
    ]
    monkeypatch.setenv("HEORI_KEY_TTL", "0")
    with pytest.raises(InvalidSetting, match=r"^HEORI_KEY_TTL: [^;\n]+ \(got '0'\)$"):
        Producer(redis_url)


def test_each_program_names_all_settings_that_it_reads() -> None:
    for package, names in (
        ("consumer", CONSUMER),
        ("producer", PRODUCER),
        ("heori/http", SERVICE),
    ):
        code = "".join(file.read_text() for file in (ROOT / package).rglob("*.py"))
        assert {*re.findall(r"settings\.(?!check\b)([a-z_]+)", code)} <= {*names, "py"}, package


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    default = Settings()
    for name in Settings.model_fields:
        monkeypatch.setenv(variable_of(name), "")
    assert Settings() == default
    Settings().check(Settings.model_fields)


def test_a_variable_may_be_written_in_small_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, text, _ in VARIABLES.values():
        monkeypatch.setenv(variable.lower(), text)
    settings = Settings()
    assert {name: getattr(settings, name) for name in VARIABLES} == {
        name: value for name, (_, _, value) in VARIABLES.items()
    }


def test_what_kubernetes_tells_of_services_is_no_setting(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    default = Settings()
    for service in ("HEORI", "HEORI_METRICS", "HEORI_API", "HEORI_REDIS", "HEORI_REDIS_URL"):
        for scheme in ("tcp", "udp"):
            port = f"{service}_PORT_9100_{scheme.upper()}"
            told = {
                f"{service}_SERVICE_HOST": "10.0.0.1",
                f"{service}_SERVICE_PORT": "9100",
                f"{service}_SERVICE_PORT_HTTP": "9100",
                f"{service}_PORT": f"{scheme}://10.0.0.1:9100",
                port: f"{scheme}://10.0.0.1:9100",
                f"{port}_PROTO": scheme,
                f"{port}_PORT": "9100",
                f"{port}_ADDR": "10.0.0.1",
            }
            for variable, text in told.items():
                monkeypatch.setenv(variable, text)
        settings = Settings()
        assert settings == default
    settings.check(PRODUCER)
    assert caplog.records == []
    settings.check(Settings.model_fields)
    [line] = caplog.records
    assert "HEORI_METRICS_PORT, HEORI_API_PORT: ignored" in line.getMessage()
    Settings(metrics_port=9100, api_port=8080).check(Settings.model_fields)
    assert len(caplog.records) == 1


def test_the_command_line_names_each_variable_that_does_not_fit() -> None:
    bad = {"HEORI_LEASE": "soon", "HEORI_ACCEPT": "json,yaml", "RQ_KEY_PREFIX": "with blank"}
    ran = subprocess.run(
        [sys.executable, "-m", "heori", "consume"],
        env={**os.environ, **bad}, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 2, ran.stderr
    told = " ".join(ran.stderr.split())
    for variable, text in bad.items():
        assert f" {variable}" in told, told
        assert text.split(",")[-1] in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ()),
        (",", ()),
        ("a", ("a",)),
        ("a,b", ("a", "b")),
        (" a , b.c ,", ("a", "b.c")),
    ],
)
def test_lists_are_written_with_commas(
    monkeypatch: pytest.MonkeyPatch, text: str, parts: tuple[str, ...]
) -> None:
    monkeypatch.setenv("HEORI_TASKS", text)
    monkeypatch.setenv("HEORI_ALLOW", text)
    assert Settings().tasks == parts
    assert Settings().allow == tuple(f"{part}." for part in parts)


def test_settings_do_not_change_once_made() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().lease = 5.0


@pytest.mark.parametrize("prefix", ["acme", "{acme}:rq"])
def test_every_key_begins_with_the_prefix(
    consume: Callable[..., Consumer], redis_url: str, redis: redis_py.Redis, prefix: str
) -> None:
    consumer = consume("--processes", "1", RQ_KEY_PREFIX=prefix).ready()
    settings = Settings(redis_url=redis_url, key_prefix=prefix)
    with Producer(settings=settings) as producer:
        assert producer.submit(sample_tasks.add, 1).result(60) == 3
        with pytest.raises(Exception, match="no such luck"):
            producer.submit(sample_tasks.fail, "no such luck").result(60)
        keys: Any = redis.keys("*")
        assert consumer.stop() == 0
    kinds = {key.decode().removeprefix(f"{prefix}:").partition(":")[0] for key in keys}
    assert kinds >= {"job", "results", "finished", "failed", "queues", "workers", "worker"}
    keys += redis.keys("*")
    assert all(key.startswith(f"{prefix}:".encode()) for key in keys), keys


def test_tokens_come_from_a_file_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "tokens"
    monkeypatch.setenv("HEORI_API_TOKENS_FILE", str(file))
    with pytest.raises(InvalidSetting, match="HEORI_API_TOKENS_FILE"):
        Settings().api_tokens  # noqa: B018 - it is read
    file.write_text("\n")
    with pytest.raises(InvalidSetting, match="is empty"):
        Settings().check(["api_tokens"])
    file.write_text("a-token-of-some-length\n\n another-of-some-length \n")
    monkeypatch.setenv("HEORI_API_TOKENS", "one-that-is-long-enough")
    tokens = [token.get_secret_value() for token in Settings().api_tokens]
    assert tokens == ["one-that-is-long-enough", "a-token-of-some-length", "another-of-some-length"]
    file.write_text("short\n")
    with pytest.raises(InvalidSetting, match="16 characters"):
        Settings().check(["api_tokens"])
