"""What the commands ask of a running daemon's admin server."""

import http.client
import json
from typing import Any

from scaler.settings import AdminSettings, host_port

TIMEOUT_SECONDS = 5.0
MAX_REPLY_BYTES = 16 * 1024 * 1024


class NoAnswer(Exception):  # noqa: N818 (reads as a sentence)
    """The daemon cannot be asked, or said no; the message says why."""


def ask(settings: AdminSettings, path: str) -> dict[str, Any]:
    """GET ``path`` of the admin server and return its JSON object. Raises `NoAnswer`."""
    return get_json(settings.listen, path, settings.token.get_secret_value() if settings.token else None)


def get_json(listen: str, path: str, token: str | None = None) -> dict[str, Any]:
    """GET ``path`` at HOST:PORT and return its JSON object. Raises `NoAnswer`."""
    return _exchange(listen, "GET", path, {"Authorization": f"Bearer {token}"} if token else {}, None)


def post_json(listen: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """POST a JSON object to ``path`` at HOST:PORT and return the answer's. Raises `NoAnswer`."""
    return _exchange(listen, "POST", path, {"Content-Type": "application/json"}, json.dumps(body))


def _exchange(listen: str, method: str, path: str, headers: dict[str, str], body: str | None) -> dict[str, Any]:
    host, port = host_port(listen)
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        answer = json.loads(response.read(MAX_REPLY_BYTES))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NoAnswer(f"nobody answers at {listen} ({type(error).__name__}: {error})") from error
    finally:
        connection.close()
    if response.status != http.client.OK or not isinstance(answer, dict):
        raise NoAnswer(f"{listen}{path}: {answer.get('error', answer) if isinstance(answer, dict) else answer}")
    return answer
