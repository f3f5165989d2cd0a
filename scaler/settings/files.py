"""From files and the environment to a checked tree. YAML file < environment (``SCALER_A__B``) < secret files (``*_file`` fields)."""

import os
import re
import ssl
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource, SettingsError

from scaler.settings.daemon import ProviderSettings
from scaler.settings.tree import PREFIX, ManagementSettings, Settings
from scaler.settings.world import WorldSettings

MAX_CONFIG_BYTES = 4 * 1024 * 1024
KIND = re.compile(r"constrained-\w+|literal\[.*\]|\[key\]")
"""What pydantic adds to the path of a field: each thing that it may be, and that it is a key."""
BELOW = re.compile(r"([a-z]\w*(?:\.[\w-]+)*): ")
"""The path of a field in front of a message."""
SECRETS = (("provider", "api_key"), ("admin", "token"))

PLAINLY = {"extra_forbidden": "unknown key", "model_type": "expected a mapping of settings; leave it out where there is nothing to say"}
"""By pydantic's type of a fault, what it means here where its own words speak of Python."""


class ConfigError(Exception):
    """The configuration is bad. ``problems`` has one line each: ``FILE: path: what was expected``."""

    def __init__(self, source: Path, problems: list[str]) -> None:
        """Name the file in front of each problem."""
        self.problems = [f"{source}: {problem}" for problem in problems]
        super().__init__("\n".join(self.problems))


def load(path: Path, **overrides: Any) -> Settings:  # noqa: ANN401 (any field of the tree)
    """Read, merge and check the whole configuration.

    ``overrides`` are top-level fields that win over everything (command-line options).
    Raises `ConfigError`.
    """
    tree = _gather(path, _read_yaml(path))
    try:
        settings = Settings(**_merge(tree, overrides))
    except ValidationError as error:
        raise ConfigError(path, _describe(error)) from error
    _require_key(path, settings.provider)
    return settings


def load_provider(path: Path | None) -> ManagementSettings:
    """The connection alone: of a configuration file, whose ``endpoints`` it does not need, or of the environment.

    Raises `ConfigError`.
    """
    source = path or Path("environment")
    tree = _gather(source, _read_yaml(path) if path else {})
    default = Settings.model_fields["pause_file"].default if path else None
    try:
        settings = ManagementSettings(provider=tree.get("provider") or {}, pause_file=tree.get("pause_file", default))
    except ValidationError as error:
        raise ConfigError(source, _describe(error)) from error
    _require_key(source, settings.provider)
    return settings


def load_world(path: Path) -> WorldSettings:
    """The ``world`` section alone of a configuration file, checked; its defaults when the file has none.

    Raises `ConfigError`.
    """
    try:
        return WorldSettings.model_validate(_read_yaml(path).get("world") or {})
    except ValidationError as error:
        raise ConfigError(path, [f"world.{problem}" for problem in _describe(error)]) from error


def names_endpoints(path: Path) -> bool:
    """Whether the configuration is more than a connection. Raises `ConfigError`."""
    return bool(_gather(path, _read_yaml(path)).get("endpoints"))


def _gather(source: Path, file: dict[str, Any]) -> dict[str, Any]:
    """``file`` < environment < secret files, not yet checked; ``source`` names it in the `ConfigError`."""
    if problems := _inline_secrets(file) + _unknown_variables() + _authorities():
        raise ConfigError(source, problems)
    try:
        tree = _merge(file, EnvSettingsSource(Settings)())
    except SettingsError as error:
        raise ConfigError(source, [f"environment: {error}"]) from error
    secrets, problems = _secret_files(tree)
    if problems:
        raise ConfigError(source, problems)
    return _merge(_merge(tree, secrets), _client_keys(tree))


def _require_key(source: Path, provider: ProviderSettings) -> None:
    if provider.api_key is None:
        raise ConfigError(source, ["provider.api_key: expected SCALER_PROVIDER__API_KEY in the environment, or provider.api_key_file"])


def _unknown_variables() -> list[str]:
    """A misspelt variable would silently do nothing; nested ones are caught by the tree itself."""
    known = set(Settings.model_fields)
    return [
        f"{name} (environment): unknown key"
        for name in os.environ
        if name.startswith(PREFIX) and name.removeprefix(PREFIX).lower().split("__", 1)[0] not in known
    ]


def _authorities() -> list[str]:
    """Where the file cannot be used OpenSSL trusts nobody, says nothing, and every request fails."""
    file = os.environ.get("SSL_CERT_FILE")
    if not file:
        return []
    try:
        ssl.create_default_context(cafile=file)
    except OSError as error:  # ssl.SSLError is one
        return [
            f"SSL_CERT_FILE (environment): expected a file of PEM certificates, got {file!r} ({error.strerror or type(error).__name__})"
        ]
    return []


def _inline_secrets(tree: dict[str, Any]) -> list[str]:
    """Secrets do not belong in a file that is copied, committed and shown."""
    return [
        f"{section}.{name}: expected in the environment ({PREFIX}{section.upper()}__{name.upper()}) or in {section}.{name}_file, not inline"
        for section, name in SECRETS
        if isinstance(tree.get(section), dict) and name in tree[section]
    ]


def _secret_files(tree: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The secrets that the ``*_file`` fields point to, as an overlay, and what went wrong on the way."""
    overlay: dict[str, Any] = {}
    problems: list[str] = []
    for section, name in SECRETS:
        branch = tree.get(section)
        file = branch.get(f"{name}_file") if isinstance(branch, dict) else None
        if file is None:
            continue
        try:
            secret = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError, TypeError) as error:
            problems.append(f"{section}.{name}_file: expected a readable text file, got {file!r} ({type(error).__name__})")
            continue
        if not secret:
            problems.append(f"{section}.{name}_file: expected a secret, but {file} is empty")
        overlay.setdefault(section, {})[name] = secret
    return overlay, problems


def _client_keys(tree: dict[str, Any]) -> dict[str, Any]:
    """The clients that ``clients.keys_file`` names, as an overlay; raises `ConfigError`."""
    branch = tree.get("clients")
    file = branch.get("keys_file") if isinstance(branch, dict) else None
    return {"clients": {"keys": _read_yaml(Path(file))}} if isinstance(file, str) else {}


class _StrictLoader(yaml.SafeLoader):
    """YAML in which a key stands once; plain YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 (PyYAML's signature)
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for (key_node, _), key in zip(node.value, keys, strict=True):
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands more than once", key_node.start_mark)
        return super().construct_mapping(node, deep=deep)


def _read_yaml(path: Path) -> dict[str, Any]:
    """The file as a mapping; every fault is a `ConfigError`."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise ConfigError(path, [f"cannot be read: {error.strerror}"]) from error
    if len(text) > MAX_CONFIG_BYTES:
        raise ConfigError(path, [f"larger than {MAX_CONFIG_BYTES} bytes"])
    try:
        tree = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 (a SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(path, [f"is not YAML: {' '.join(str(error).split())}"]) from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(path, ["expected a mapping of settings at the top"])
    return tree


def _describe(error: ValidationError) -> list[str]:
    """One line per field; the input itself is never shown, it may be a secret.

    A field that may be one of several things is none of them for several reasons; a section may find fault with a field below it.
    """
    said: dict[str, str] = {}
    for fault in error.errors(include_url=False, include_input=False):
        message = PLAINLY.get(fault["type"], fault["msg"].removeprefix("Value error, "))
        parts = [str(part) for part in fault["loc"] if not KIND.fullmatch(str(part))]
        if found := BELOW.match(message):
            parts, message = [*parts, found[1]], message[found.end() :]
        where = ".".join(parts)
        said[where] = f"{said[where]}, or {message.removeprefix('Input ')}" if where in said else message
    return [f"{where}: {message}" if where else message for where, message in said.items()]


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """``over`` wins, branch by branch."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged
