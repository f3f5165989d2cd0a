"""Endpoints that are declared rather than named by id, and connections without endpoints."""

from pathlib import Path

import pytest

from scaler.settings import ConfigError, display_name_of, load, load_provider

HEAD = "provider: {api_key_file: KEYFILE}\nendpoints:\n"
GOOD = HEAD + "  chat: {create: true, model: org/m, hardware: 2x_gpu, max_replicas: 3}\n"


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BASE_URL", "API_KEY", "API_KEY_FILE"):
        monkeypatch.delenv(f"SCALER_PROVIDER__{name}", raising=False)


def write(tmp_path: Path, text: str) -> Path:
    (tmp_path / "key").write_text("file-secret\n")
    file = tmp_path / "config.yaml"
    file.write_text(text.replace("KEYFILE", str(tmp_path / "key")))
    return file


def test_a_declaration_needs_no_id_and_is_recognised_by_its_key(tmp_path: Path) -> None:
    endpoint = load(write(tmp_path, GOOD)).endpoints["chat"]
    assert (endpoint.id, endpoint.zone, endpoint.speculative_decoding) == ("", None, False)
    assert display_name_of("chat", endpoint) == "scaler-chat"
    two = GOOD + "  second: {create: true, model: org/m, hardware: 2x_gpu, display_name: other}\n"
    assert display_name_of("second", load(write(tmp_path, two)).endpoints["second"]) == "other"


BAD = {
    "neither": ("  chat: {max_replicas: 3}\n", "endpoints.chat.id: expected the management id of an endpoint that exists, or create: true"),
    "empty id": ("  chat: {id: ''}\n", "endpoints.chat.id: expected the management id"),
    "both": ("  chat: {id: endpoint-1, create: true, model: m, hardware: h}\n", "endpoints.chat.id: expected none beside create: true"),
    "no model": ("  chat: {create: true, hardware: h}\n", "endpoints.chat.model: expected beside create: true"),
    "no hardware": ("  chat: {create: true, model: m}\n", "endpoints.chat.hardware: expected beside create: true"),
    "zone of an id": ("  chat: {id: endpoint-1, zone: z}\n", "endpoints.chat.zone: expected only beside create: true"),
    "model of an id": ("  chat: {id: endpoint-1, model: m}\n", "endpoints.chat.model: expected only beside create: true"),
    "crossed bounds": ("  chat: {create: true, model: m, hardware: h, min_replicas: 2}\n", "expected min_replicas <= max_replicas"),
    "one display name": (
        "  a: {create: true, model: m, hardware: h}\n  b: {create: true, model: m, hardware: h, display_name: scaler-a}\n",
        "endpoints.b.display_name: 'scaler-a' already is that of endpoints.a",
    ),
}


def test_v2_creates_nothing_and_that_is_said_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"endpoints\.chat\.create: v2 deploys from a model's configs"):
        load(write(tmp_path, GOOD.replace("provider: {", "provider: {kind: together_v2, ")))


@pytest.mark.parametrize(("endpoints", "message"), BAD.values(), ids=BAD.keys())
def test_a_declaration_that_contradicts_itself_names_the_field(tmp_path: Path, endpoints: str, message: str) -> None:
    file = write(tmp_path, HEAD + endpoints)
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert [problem for problem in caught.value.problems if message in problem]
    assert all(problem.startswith(f"{file}: ") for problem in caught.value.problems)


def test_a_connection_needs_no_endpoints_and_knows_the_pause_file(tmp_path: Path) -> None:
    settings = load_provider(write(tmp_path, "provider: {base_url: 'http://127.0.0.1:1/v1', api_key_file: KEYFILE}\n"))
    assert settings.provider.base_url == "http://127.0.0.1:1/v1"
    assert settings.provider.key.get_secret_value() == "file-secret"
    assert settings.pause_file == Path("scaler.paused")
    assert load_provider(write(tmp_path, "provider: {api_key_file: KEYFILE}\npause_file: /x/y\n")).pause_file == Path("/x/y")


def test_a_connection_may_come_from_the_environment_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"^environment: provider\.api_key: expected SCALER_PROVIDER__API_KEY"):
        load_provider(None)
    monkeypatch.setenv("SCALER_PROVIDER__API_KEY", "env-secret")
    monkeypatch.setenv("SCALER_PROVIDER__BASE_URL", "http://127.0.0.1:1/v1")
    settings = load_provider(None)
    assert (settings.provider.key.get_secret_value(), settings.pause_file) == ("env-secret", None)
    monkeypatch.setenv("SCALER_PROVIDER__API_KEY_FILE", str(tmp_path / "missing"))
    with pytest.raises(ConfigError, match="expected a readable text file"):
        load_provider(None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("provider: {api_key: s3cret}\n", "provider.api_key: expected in the environment"),
        ("provider: {api_key_file: KEYFILE, base_uri: x}\n", "provider.base_uri: unknown key"),
        ("provider: []\n", "provider"),
    ],
)
def test_a_bad_connection_names_the_field_and_not_the_secret(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_provider(write(tmp_path, text))
    assert message in str(caught.value)
    assert "s3cret" not in str(caught.value)
