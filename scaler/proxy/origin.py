"""The one place that requests go to: origin, path prefix and credential come from the configuration alone."""

import ssl
from urllib.parse import urlsplit

from pydantic import SecretStr


class Origin:
    """Where requests go."""

    def __init__(self, url: str, api_key: SecretStr) -> None:
        """``url``: scheme, host, port and path prefix."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"expected an http(s) URL, got {url!r}")
        key = api_key.get_secret_value()
        if not (key.isascii() and key.isprintable()):
            raise ValueError("expected a key of printable ASCII")
        self.tls = parts.scheme == "https"
        self.host = parts.hostname
        self.port = parts.port or (443 if self.tls else 80)
        self._prefix = parts.path.rstrip("/")
        self._fields = f"Host: {parts.netloc}\r\nAuthorization: Bearer {key}\r\n"

    def post(self, path: str) -> bytes:
        """The beginning of a request's head: ``path`` under the prefix, Host and credential."""
        return f"POST {self._prefix}{path} HTTP/1.1\r\n{self._fields}".encode()


def system_trust() -> ssl.SSLContext:
    """Whom to believe where nothing else is said: the system's authorities, host names checked, TLS 1.2 or later."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # Debian's Python leaves it to the system's settings
    return context
