"""Answers that the proxy gives itself instead of the upstream's, in the shape that clients of the OpenAI API expect."""

import json
from http import HTTPStatus

from scaler.proxy.http1 import head_out

KINDS: dict[str, tuple[int, str]] = {
    "invalid_request": (400, "invalid_request_error"),
    "invalid_json": (400, "invalid_request_error"),
    "model_missing": (400, "invalid_request_error"),
    "invalid_api_key": (401, "invalid_request_error"),
    "model_not_found": (404, "invalid_request_error"),
    "unknown_url": (404, "invalid_request_error"),
    "method_not_allowed": (405, "invalid_request_error"),
    "request_timeout": (408, "timeout_error"),
    "body_too_large": (413, "invalid_request_error"),
    "url_too_long": (414, "invalid_request_error"),
    "expectation_failed": (417, "invalid_request_error"),
    "rate_limit_exceeded": (429, "rate_limit_error"),
    "too_many_in_flight": (429, "rate_limit_error"),
    "head_too_large": (431, "invalid_request_error"),
    "upstream_unreachable": (502, "upstream_error"),
    "upstream_broken": (502, "upstream_error"),
    "endpoint_saturated": (503, "overloaded_error"),
    "overloaded": (503, "overloaded_error"),
    "endpoint_waking": (503, "overloaded_error"),
    "hold_full": (503, "overloaded_error"),
    "saturated": (503, "overloaded_error"),
    "shutting_down": (503, "overloaded_error"),
    "hold_timeout": (504, "timeout_error"),
    "connect_timeout": (504, "timeout_error"),
    "response_timeout": (504, "timeout_error"),
    "version_not_supported": (505, "invalid_request_error"),
}
"""Status and ``error.type`` of each ``error.code``."""


class Refusal(Exception):  # noqa: N818 (an answer on its way to the client, seldom an error of ours)
    """Why a request gets no answer of the upstream.

    code:         a key of `KINDS`; also in the header ``x-scaler-error``, which tells our errors from the upstream's
    param:        the field of the request that is at fault
    allow:        methods, for ``method_not_allowed``
    retry_after:  seconds after which to try again
    """

    def __init__(
        self, code: str, message: str, *, param: str | None = None, allow: str | None = None, retry_after: int | None = None
    ) -> None:
        """Fix the status from the code."""
        super().__init__(message)
        self.code = code
        self.status, self.type = KINDS[code]
        self.param = param
        self.allow = allow
        self.retry_after = retry_after

    def lines(self) -> bytes:
        """Header lines of the answer."""
        lines = [f"x-scaler-error: {self.code}"]
        if self.allow:
            lines.append(f"allow: {self.allow}")
        if self.retry_after is not None:
            lines.append(f"retry-after: {self.retry_after}")
        if self.status == HTTPStatus.UNAUTHORIZED:
            lines.append("www-authenticate: Bearer")
        return "\r\n".join([*lines, ""]).encode()

    def body(self) -> bytes:
        """JSON of the answer; ASCII, whatever the message quotes."""
        return json.dumps({"error": {"message": str(self), "type": self.type, "param": self.param, "code": self.code}}).encode()


def json_answer(status: int, lines: bytes, body: bytes, *, keep_alive: bool, with_body: bool = True) -> bytes:
    """Bytes of a whole answer of our own."""
    head = head_out(status, b"content-type: application/json\r\n" + lines, "length", len(body), keep_alive=keep_alive)
    return head + body if with_body else head
