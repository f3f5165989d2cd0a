import asyncio
import base64
import io
import json
import logging
import warnings
from collections.abc import Iterator
from enum import StrEnum
from typing import NoReturn
from urllib.parse import quote

import httpx
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from scaler.observability.logs import MASK, MAX_LINE_BYTES, configure, render_json
from scaler.settings import LogSettings

KEY = "tgp_v1_canary/8Hq+Zr4 Xw=0123456789"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def fail(error: Exception) -> NoReturn:
    raise error


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, config = root.handlers[:], root.level, structlog.get_config()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.configure(**config)
    structlog.contextvars.clear_contextvars()


def logged(stream: io.StringIO) -> list[dict[str, object]]:
    """Every line that was written, each of which must be one JSON object within the limit."""
    text = stream.getvalue()
    assert text == "" or text.endswith("\n")
    lines = text.splitlines()
    assert all(len(line.encode()) < MAX_LINE_BYTES for line in lines)
    assert all(0x20 <= ord(character) < 0x7F for line in lines for character in line)
    return [json.loads(line) for line in lines]


def test_a_line_says_when_how_grave_who_and_what() -> None:
    stream = io.StringIO()
    configure(LogSettings(), stream=stream)
    structlog.contextvars.bind_contextvars(tick=7)
    structlog.get_logger("scaler.controller").info("decided", endpoint="chat", bounds="2..4", cost=1.5)
    [line] = logged(stream)
    assert str(line.pop("timestamp")).endswith("Z")
    assert line == {
        "level": "info",
        "logger": "scaler.controller",
        "event": "decided",
        "tick": 7,
        "endpoint": "chat",
        "bounds": "2..4",
        "cost": 1.5,
    }


def test_the_standard_library_and_warnings_speak_the_same_way() -> None:
    stream = io.StringIO()
    configure(LogSettings(), stream=stream)
    logging.getLogger("uvicorn.error").error("broken %s", "pipe")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    broken, warned = logged(stream)
    assert (broken["level"], broken["logger"], broken["event"]) == ("error", "uvicorn.error", "broken pipe")
    assert warned["logger"] == "py.warnings"
    assert "DeprecationWarning: old" in str(warned["event"])


@pytest.mark.parametrize(("level", "expected"), [("debug", ["a", "b", "c"]), ("info", ["b", "c"]), ("error", ["c"])])
def test_less_than_the_level_is_not_written(level: str, expected: list[str]) -> None:
    stream = io.StringIO()
    configure(LogSettings.model_validate({"level": level}), stream=stream)
    log = structlog.get_logger("x")
    log.debug("a")
    logging.getLogger("y").info("b")
    log.error("c")
    assert [line["event"] for line in logged(stream)] == expected


def test_libraries_are_quiet_but_for_faults_unless_one_is_debugging() -> None:
    stream = io.StringIO()
    configure(LogSettings(), stream=stream)
    logging.getLogger("httpx").info("HTTP Request: GET")
    logging.getLogger("apscheduler.scheduler").warning("missed")  # counted by our scheduler
    logging.getLogger("apscheduler.executors").error("failed")
    assert [line["event"] for line in logged(stream)] == ["failed"]
    configure(LogSettings(level="debug"), stream=stream)
    logging.getLogger("httpx").info("HTTP Request: GET")
    assert len(logged(stream)) == 2


def test_an_exception_is_one_line_with_its_traceback() -> None:
    stream = io.StringIO()
    configure(LogSettings(), stream=stream)
    try:
        fail(ValueError(f"bad answer: {KEY}"))
    except ValueError:
        structlog.get_logger("x").exception("failed")
        logging.getLogger("y").exception("failed too")
    for line in logged(stream):
        assert str(line["exception"]).startswith("Traceback")
        assert str(line["exception"]).endswith(f"ValueError: bad answer: {KEY}")


def secret_forms(key: str) -> dict[str, str]:
    return {
        "plain": key,
        "within": f"GET /v1?x={key}&y",
        "percent": quote(key, safe=""),
        "base64": base64.b64encode(key.encode()).decode(),
        "base64 url": base64.urlsafe_b64encode(key.encode()).decode(),
        "basic": base64.b64encode(f"user:{key}".encode()).decode(),
        "base64 after one": base64.b64encode(f"u{key}.".encode()).decode(),
        "first twelve": f"key starts with {key[:12]}...",
        "cut": key[:17],
        "repr": repr({"x": key}),
        "json": json.dumps({"x": key}),
        "bytes": repr(key.encode()),
    }


def leaks(text: str, key: str) -> list[str]:
    """Which forms of the secret stand in the text, whole or by their first twelve characters."""
    return [name for name, form in secret_forms(key).items() if form in text or key[:12] in text]


@pytest.mark.parametrize("form", secret_forms(KEY))
@pytest.mark.parametrize("settings", [LogSettings(format="json"), LogSettings(format="console")])
def test_a_secret_is_recognised_in_each_form_and_place(form: str, settings: LogSettings) -> None:
    value = secret_forms(KEY)[form]
    stream = io.StringIO()
    configure(settings, [SecretStr(KEY), SecretStr("")], stream=stream)
    log = structlog.get_logger("x")
    log.info("start", value=value)
    log.info(value)
    log.info("nested", body={"list": [{"deep": value}], value: 1})
    logging.getLogger("httpx").error("HTTP %s", value)
    try:
        fail(RuntimeError(value))
    except RuntimeError:
        log.exception("failed")
    text = stream.getvalue()
    assert text.count(MASK) >= 6
    assert not leaks(text, KEY)


@pytest.mark.parametrize("name", ["authorization", "Proxy-Authorization", "api_key", "X-API-Key", "token", "cookie"])
def test_secrets_of_others_are_known_by_their_name(name: str) -> None:
    stream = io.StringIO()
    configure(LogSettings(), stream=stream)
    structlog.get_logger("x").info("request", headers={name: "s3cret"}, **{name: "s3cret"})
    assert "s3cret" not in stream.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer s3cret",
        "[(b'Authorization', b'Bearer s3cret')]",
        '{"api_key": "s3cret"}',
        "https://x/v1?api_key=s3cret&x=1",
        "/status?token=s3cret",
    ],
)
def test_secrets_of_others_are_known_by_what_stands_before_them(text: str) -> None:
    stream = io.StringIO()
    configure(LogSettings(), stream=stream)
    structlog.get_logger("x").info(text)
    assert "s3cret" not in stream.getvalue()
    assert MASK in stream.getvalue()


def test_counts_of_tokens_are_no_secrets() -> None:
    stream = io.StringIO()
    configure(LogSettings(), [SecretStr(KEY)], stream=stream)
    structlog.get_logger("x").info("answered in 0.02 s per output token: fine", input_tokens=12, time_per_output_token=0.02)
    [line] = logged(stream)
    assert (line["event"], line["input_tokens"], line["time_per_output_token"]) == (
        "answered in 0.02 s per output token: fine",
        12,
        0.02,
    )


async def test_the_debug_log_of_a_real_request_keeps_the_key() -> None:
    """httpx and httpcore tell every header at debug; the key must not be among them, and the refusal that repeats it neither."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = json.dumps({"error": f"Invalid API key provided: {KEY}"}).encode()
        writer.write(b"HTTP/1.1 401 No\r\nx-key: %b\r\ncontent-length: %d\r\n\r\n%b" % (KEY.encode(), len(body), body))
        await writer.drain()
        writer.close()

    stream = io.StringIO()
    configure(LogSettings(level="debug"), [SecretStr(KEY)], stream=stream)
    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, httpx.AsyncClient(trust_env=False) as client:
        response = await client.get(f"http://127.0.0.1:{port}/{quote(KEY)}", headers={"authorization": f"Bearer {KEY}"})
    try:
        response.raise_for_status()
    except httpx.HTTPStatusError:
        structlog.get_logger("x").exception("refused", body=response.text, headers=dict(response.headers))
    lines = logged(stream)
    assert any(line["logger"] == "httpcore.http11" for line in lines)
    assert not leaks(stream.getvalue(), KEY)


class Colour(StrEnum):
    RED = "red"


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def test_any_value_can_be_logged() -> None:
    stream = io.StringIO()
    configure(LogSettings(), stream=stream)
    deep: list[object] = []
    deep.append(deep)
    structlog.get_logger("x").info(
        "odd",
        nan=float("nan"),
        infinite=float("-inf"),
        huge=10**5000,
        colour=Colour.RED,
        secret=SecretStr("hidden"),
        other=SecretStr("hidden"),
        hostile=Hostile(),
        deep=deep,
        keys={(1, 2): {3}, None: b"\xff"},
        surrogate="\ud800",
    )
    [line] = logged(stream)
    assert (line["nan"], line["infinite"], line["colour"]) == ("nan", "-inf", "red")
    assert line["other"] == "SecretStr('**********')"
    assert line["hostile"] == "<Hostile whose repr raises RuntimeError>"
    assert line["keys"] == {"(1, 2)": [3], "None": "b'\\xff'"}


@pytest.mark.parametrize("injected", ["\x1b[31mred", "a\r\nb", "a\u2028b\u2029c\x85d", "\x7f\x00\x9b", "€" * 1_000_000])
def test_what_clients_send_cannot_forge_or_flood_lines(injected: str) -> None:
    stream = io.StringIO()
    configure(LogSettings(), stream=stream)
    structlog.get_logger("x").info(injected, path=injected, model=injected, **{injected: injected})
    [line] = logged(stream)
    assert line["level"] == "info"
    terminal = Terminal()
    configure(LogSettings(format="console"), stream=terminal)
    structlog.get_logger("x").info("plain", path=injected, **{injected: 1})
    shown = terminal.getvalue()
    assert injected[:2] == "€€" or injected not in shown
    assert shown.count("\n") == 1


def test_a_long_line_keeps_its_short_fields_and_the_ends_of_its_long_ones() -> None:
    stream = io.StringIO()
    configure(LogSettings(), stream=stream)
    structlog.get_logger("x").info("answer", endpoint="chat", body="BEGIN" + "x" * 100_000 + "END", **{f"n{i}": i for i in range(40)})
    [line] = logged(stream)
    assert line["endpoint"] == "chat"
    assert line["n39"] == 39
    assert str(line["body"]).startswith("BEGIN")
    assert str(line["body"]).endswith("END")


@pytest.mark.parametrize("excess", [-1, 0, 1])
def test_the_limit_of_a_line_is_exact(excess: int) -> None:
    frame = len(render_json(None, "info", {"event": ""})) + 1
    event = "x" * (MAX_LINE_BYTES - frame + excess)
    line = render_json(None, "info", {"event": event}) + "\n"
    assert len(line) <= MAX_LINE_BYTES
    assert (json.loads(line)["event"] == event) is (excess <= 0)


def test_a_terminal_gets_columns_and_a_file_gets_json() -> None:
    terminal = Terminal()
    configure(LogSettings(format="auto"), stream=terminal)
    structlog.get_logger("x").info("hello", n=1)
    assert "hello" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")
    file = io.StringIO()
    configure(LogSettings(format="auto"), stream=file)
    structlog.get_logger("x").info("hello", n=1)
    assert logged(file)[0]["n"] == 1


def test_a_traceback_on_a_terminal_keeps_its_lines() -> None:
    stream = io.StringIO()
    configure(LogSettings(format="console"), stream=stream)
    try:
        fail(ValueError("\x1b[2J"))
    except ValueError:
        structlog.get_logger("x").exception("failed")
    assert "\n" in stream.getvalue().strip()
    assert "\x1b[2J" not in stream.getvalue()


JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=60) | st.just(KEY) | st.binary(),
    lambda children: st.lists(children, max_size=5) | st.dictionaries(st.text(st.characters(), max_size=8) | st.just(KEY), children),
    max_leaves=20,
)


@given(event=st.text(st.characters()), values=st.dictionaries(st.text(st.characters(), min_size=1), JSONISH, max_size=20))
def test_every_event_becomes_one_bounded_line_without_the_key(event: str, values: dict[str, object]) -> None:
    stream = io.StringIO()
    configure(LogSettings(), [SecretStr(KEY)], stream=stream)
    for name in ("event", "level", "logger", "timestamp", "exc_info", "_record", "_from_structlog", "_logger", "_name"):
        values.pop(name, None)
    structlog.get_logger("x").info(event.replace("%", ""), **values)
    assert len(logged(stream)) == 1
    assert not leaks(stream.getvalue(), KEY)
