"""One tree from three sources; bad input names the file, the path and what was expected."""

import re
from pathlib import Path

import certifi
import pytest

from scaler.settings import ConfigError, load

MINIMAL = """
provider: {api_key_file: KEYFILE}
endpoints:
  chat: {id: endpoint-1, max_replicas: 4}
"""
HASH = "5e" * 32


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_text("file-secret\n")
    return file


def write(tmp_path: Path, text: str, key: Path | None = None) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text(text.replace("KEYFILE", str(key)).replace("HASH", HASH))
    return file


def test_ten_lines_are_enough(tmp_path: Path, key: Path) -> None:
    settings = load(write(tmp_path, MINIMAL, key))
    assert settings.endpoints["chat"].max_replicas == 4
    assert settings.upstream == "https://api.together.xyz/v1"


def test_environment_wins_over_the_file_and_merges_deep(tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCALER_ENDPOINTS__CHAT__MIN_REPLICAS", "2")
    monkeypatch.setenv("SCALER_PROXY__LISTEN", "127.0.0.1:9999")
    settings = load(write(tmp_path, MINIMAL, key))
    assert settings.endpoints["chat"].min_replicas == 2
    assert settings.endpoints["chat"].max_replicas == 4
    assert settings.proxy.listen == "127.0.0.1:9999"


def test_secret_file_wins_over_the_environment(tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCALER_PROVIDER__API_KEY", "env-secret")
    settings = load(write(tmp_path, MINIMAL, key))
    assert settings.provider.key.get_secret_value() == "file-secret"


def test_a_secret_file_may_be_named_by_the_environment(tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCALER_PROVIDER__API_KEY_FILE", str(key))
    settings = load(write(tmp_path, "endpoints: {chat: {id: endpoint-1}}"))
    assert settings.provider.key.get_secret_value() == "file-secret"


def test_clients_come_from_the_file_the_environment_and_a_file_of_their_own(
    tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = tmp_path / "clients.yaml"
    keys.write_text(
        f"bob: {{sha256: {'b2' * 32}}}\n"
        f"carol: {{sha256: {'cc' * 32}, max_in_flight: 4}}\n"
        f"dave: {{sha256: {'dd' * 32}, requests_per_minute: 30}}\n"
    )
    monkeypatch.setenv("SCALER_CLIENTS__KEYS__BOB__SHA256", "b1" * 32)
    monkeypatch.setenv("SCALER_CLIENTS__KEYS__BOB__REQUESTS_PER_MINUTE", "60")
    monkeypatch.setenv("SCALER_CLIENTS__KEYS__DAVE__BURST", "3")
    text = MINIMAL + f"proxy: {{listen: '0.0.0.0:8080'}}\nclients: {{keys: {{alice: {{sha256: HASH}}}}, keys_file: {keys}}}"
    clients = load(write(tmp_path, text, key)).clients.keys
    assert {name: (client.sha256[:2], client.burst, client.max_in_flight) for name, client in clients.items()} == {
        "alice": ("5e", None, None),
        "bob": ("b2", 20, None),
        "carol": ("cc", None, 4),
        "dave": ("dd", 3, None),
    }


def test_anyone_may_ask_where_it_is_said_twice(tmp_path: Path, key: Path) -> None:
    text = MINIMAL + "proxy: {listen: '0.0.0.0:8080'}\nclients: {anonymous_on: '0.0.0.0:8080'}"
    assert load(write(tmp_path, text, key)).clients.keys == {}


def test_a_file_of_clients_that_cannot_be_read_is_an_error(tmp_path: Path, key: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere.yaml: cannot be read"):
        load(write(tmp_path, MINIMAL + "clients: {keys_file: nowhere.yaml}", key))


def test_options_win_over_everything(tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCALER_DRY_RUN", "false")
    assert load(write(tmp_path, MINIMAL, key), dry_run=True).dry_run


def test_secrets_do_not_print(tmp_path: Path, key: Path) -> None:
    settings = load(write(tmp_path, MINIMAL, key))
    assert "file-secret" not in repr(settings) + str(settings) + settings.model_dump_json()


BAD = {
    "unknown key at the top": ("provder: {}\n" + MINIMAL, "provder: unknown key"),
    "unknown key below": (MINIMAL.replace("max_replicas", "max_replica"), "endpoints.chat.max_replica: unknown key"),
    "duplicate key": (MINIMAL + "endpoints: {}\n", "key 'endpoints' stands more than once"),
    "duplicate endpoint": (MINIMAL + "  chat: {id: endpoint-2}\n", "key 'chat' stands more than once"),
    "min above max": (
        MINIMAL.replace("max_replicas: 4", "min_replicas: 5, max_replicas: 4"),
        "endpoints.chat: expected min_replicas <= max_replicas",
    ),
    "wrong type": (
        MINIMAL.replace("max_replicas: 4", "max_replicas: many"),
        "endpoints.chat.max_replicas: Input should be a valid integer",
    ),
    "negative": (
        MINIMAL.replace("max_replicas: 4", "min_replicas: -1"),
        "endpoints.chat.min_replicas: Input should be greater than or equal to 1",
    ),
    "not a number": (MINIMAL + "schedule: {tick_seconds: .nan}", "schedule.tick_seconds"),
    "infinite": (MINIMAL + "schedule: {tick_seconds: .inf}", "schedule.tick_seconds"),
    "no endpoints": ("provider: {api_key_file: KEYFILE}", "endpoints: Field required"),
    "inline secret": ("provider: {api_key: s3cret}\nendpoints: {chat: {id: e}}", "provider.api_key: expected in the environment"),
    "no secret": ("endpoints: {chat: {id: endpoint-1}}", "provider.api_key: expected SCALER_PROVIDER__API_KEY"),
    "secret file missing": (MINIMAL.replace("KEYFILE", "/nonexistent/key"), "provider.api_key_file: expected a readable text file"),
    "plain http to the world": (MINIMAL + "proxy: {upstream: 'http://example.org/v1'}", "proxy.upstream: expected https://"),
    "loopback in the name only": (MINIMAL + "proxy: {upstream: 'http://127.0.0.1.example.org'}", "proxy.upstream: expected https://"),
    "user info in the URL": (MINIMAL + "proxy: {upstream: 'https://a@b.example'}", "proxy.upstream: expected an http(s) URL"),
    **{
        f"an upstream that cannot be called: {url}": (MINIMAL + f"proxy: {{upstream: '{url}'}}", "proxy.upstream: expected an http(s) URL")
        for url in ("https://:443/v1", "https://a.example:65536", "https://a.example:0", "https://a.example:http", "https://[:::]/v1")
    },
    "an upstream that is scaler itself": (
        MINIMAL + "proxy: {listen: '127.0.0.1:8080', upstream: 'http://localhost:8080/v1'}",
        "proxy.upstream: expected another address than proxy.listen, 127.0.0.1:8080",
    ),
    **{
        f"bad listen: {listen}": (MINIMAL + f"admin: {{listen: '{listen}'}}", "admin.listen: expected HOST:PORT")
        for listen in ("9090", ":9090", "::1:9090", "127.0.0.1:65536", "127.0.0.1:\N{SUPERSCRIPT TWO}", "no such host:9090")
    },
    "a name that nobody can ask for": (MINIMAL.replace("max_replicas: 4", "aliases: ['']"), "endpoints.chat.aliases.0: String should have"),
    "a name of two lines": (MINIMAL.replace("max_replicas: 4", 'name: "a\\nb"'), "endpoints.chat.name: String should match"),
    "public admin without token": (MINIMAL + "admin: {listen: '0.0.0.0:9090'}", "admin.listen: 0.0.0.0 is not loopback"),
    "public requests without keys": (
        MINIMAL + "proxy: {listen: '0.0.0.0:8080'}",
        "clients.keys: proxy.listen 0.0.0.0:8080 is not loopback; expected keys of clients, or clients.anonymous_on: '0.0.0.0:8080'",
    ),
    "anonymous on another address": (
        MINIMAL + "proxy: {listen: '[::]:8080'}\nclients: {anonymous_on: '0.0.0.0:8080'}",
        "clients.keys: proxy.listen [::]:8080 is not loopback",
    ),
    "a key that is no hash": (
        MINIMAL + "clients: {keys: {alice: {sha256: sk-alice}}}",
        "clients.keys.alice.sha256: expected the SHA-256 of the key",
    ),
    "a burst of no rate": (
        MINIMAL + "clients: {keys: {alice: {sha256: HASH, burst: 20}}}",
        "clients.keys.alice.burst: expected only beside requests_per_minute",
    ),
    "a burst of a rate that is none": (
        MINIMAL + "clients: {keys: {alice: {sha256: HASH, burst: 20, requests_per_minute: 0}}}",
        "clients.keys.alice.requests_per_minute: Input should be greater than 0",
    ),
    "a client's name that is no label": (
        MINIMAL + "clients: {keys: {'a b': {sha256: HASH}}}",
        "clients.keys.a b: String should match",
    ),
    "two clients, one key": (
        MINIMAL + "clients: {keys: {alice: {sha256: HASH}, bob: {sha256: HASH}}}",
        "clients.keys: bob has the same key as alice",
    ),
    "less room than a body needs": (
        MINIMAL + "proxy: {max_body_bytes: 1000, max_buffered_bytes: 999}",
        "proxy.max_buffered_bytes: expected at least max_body_bytes",
    ),
    "a reserved name": (MINIMAL.replace("chat:", "other:"), "endpoints.other: expected another name"),
    "two endpoints, one id": (MINIMAL + "  second: {id: endpoint-1}\n", "'endpoint-1' already names endpoints.chat"),
    "panic longer than stable": (
        MINIMAL.replace("max_replicas: 4", "policy: {panic_window_seconds: 90}"),
        "endpoints.chat.policy: expected panic_window_seconds <= stable_window_seconds",
    ),
    "a section that says nothing": (MINIMAL + "proxy:\n", "proxy: expected a mapping of settings; leave it out"),
    "one of two things": (
        MINIMAL.replace("max_replicas: 4", "policy: {target_concurrency: 0}"),
        "endpoints.chat.policy.target_concurrency: Input should be greater than 0, or should be 'auto'",
    ),
    "a price that nothing asks for": (
        MINIMAL.replace("max_replicas: 4", "idle: {allow_stop: true, stop_after_minutes: 30, cold_request_dollars: 2}"),
        "endpoints.chat.idle.cold_request_dollars: expected only beside stop_after_minutes: auto",
    ),
    "expendable and not to be stopped": (
        MINIMAL.replace("max_replicas: 4", "budget: {expendable: true}"),
        "endpoints.chat.budget: expected idle.allow_stop: true beside expendable: true",
    ),
    "not a mapping": ("- a\n- b\n", "expected a mapping"),
    "not YAML": ("a: [", "is not YAML"),
    "not text": ("\x00", "is not YAML"),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_refused_with_file_path_and_expectation(tmp_path: Path, key: Path, text: str, message: str) -> None:
    file = write(tmp_path, text, key)
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert message in str(caught.value)
    assert all(problem.startswith(f"{file}: ") for problem in caught.value.problems)
    assert "s3cret" not in str(caught.value)


def test_all_faults_are_told_at_once(tmp_path: Path, key: Path) -> None:
    text = MINIMAL.replace("max_replicas: 4", "max_replicas: 0, colour: red") + "dry_run: perhaps\n"
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text, key))
    assert len(caught.value.problems) == 3


def test_a_misspelt_variable_is_an_error(tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCALER_DRYRUN", "true")
    with pytest.raises(ConfigError, match=r"SCALER_DRYRUN \(environment\): unknown key"):
        load(write(tmp_path, MINIMAL, key))


@pytest.mark.parametrize("authorities", ["/nowhere.pem", "/", __file__])
def test_authorities_that_cannot_be_used_are_an_error(tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch, authorities: str) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", authorities)
    with pytest.raises(
        ConfigError, match=rf"SSL_CERT_FILE \(environment\): expected a file of PEM certificates, got '{re.escape(authorities)}'"
    ):
        load(write(tmp_path, MINIMAL, key))


def test_authorities_of_ones_own_are_taken(tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", certifi.where())
    assert load(write(tmp_path, MINIMAL, key)).endpoints


def test_a_missing_file_and_a_huge_one_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "nowhere.yaml")
    huge = tmp_path / "huge.yaml"
    huge.write_text("#" * (4 * 1024 * 1024 + 1))
    with pytest.raises(ConfigError, match="larger than"):
        load(huge)


def test_an_empty_secret_file_is_an_error(tmp_path: Path, key: Path) -> None:
    key.write_text("\n")
    with pytest.raises(ConfigError, match="expected a secret"):
        load(write(tmp_path, MINIMAL, key))
