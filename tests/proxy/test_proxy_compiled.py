import os

from scaler.proxy import downstream, exchange, heads, request_reader, upstream


def test_what_is_tested_is_what_is_said() -> None:
    """These tests run twice: once with the modules as they are written, and once with COMPILED=true and what is made of them."""
    compiled = {module.__name__: str(module.__file__).endswith(".so") for module in (downstream, exchange, heads, request_reader, upstream)}

    assert set(compiled.values()) == {os.environ.get("COMPILED") == "true"}
