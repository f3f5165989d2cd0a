"""Answers that the proxy gives itself instead of the upstream's, in the shape that clients of the OpenAI API expect."""

import json

KINDS: dict[str, tuple[int, str]] = {
    "invalid_request": (400, "invalid_request_error"),
    "invalid_json": (400, "invalid_request_error"),
    "model_missing": (400, "invalid_request_error"),
    "model_not_found": (404, "invalid_request_error"),
    "unknown_url": (404, "invalid_request_error"),
    "method_not_allowed": (405, "invalid_request_error"),
    "request_timeout": (408, "timeout_error"),
    "body_too_large": (413, "invalid_request_error"),
    "expectation_failed": (417, "invalid_request_error"),
    "head_too_large": (431, "invalid_request_error"),
    "upstream_unreachable": (502, "upstream_error"),
    "upstream_broken": (502, "upstream_error"),
    "connect_timeout": (504, "timeout_error"),
    "response_timeout": (504, "timeout_error"),
    "version_not_supported": (505, "invalid_request_error"),
}
"""Status and ``error.type`` of each ``error.code``."""


class Refusal(Exception):  # noqa: N818 (an answer on its way to the client, seldom an error of ours)
    """Why a request gets no answer of the upstream.

    code:     a key of `KINDS`; also in the header ``x-scaler-error``, which tells our errors from the upstream's
    param:    the field of the request that is at fault
    allow:    methods, for ``method_not_allowed``
    """

    def __init__(self, code: str, message: str, *, param: str | None = None, allow: str | None = None) -> None:
        """Fix the status from the code."""
        super().__init__(message)
        self.code = code
        self.status, self.type = KINDS[code]
        self.param = param
        self.allow = allow

    def lines(self) -> bytes:
        """Header lines of the answer."""
        allow = f"allow: {self.allow}\r\n" if self.allow else ""
        return f"x-scaler-error: {self.code}\r\n{allow}".encode()

    def body(self) -> bytes:
        """JSON of the answer; ASCII, whatever the message quotes."""
        return json.dumps({"error": {"message": str(self), "type": self.type, "param": self.param, "code": self.code}}).encode()
