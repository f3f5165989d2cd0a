"""What can be deployed: the catalog under v2's names.

Models and configs belong to a public project. A config is one model on one hardware, with or without speculative decoding.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from scaler.world.catalog import HARDWARE, MODELS, Hardware

PUBLIC_PROJECT = "proj_public"
"""Owner of all models and configs."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model: its public name, and the ids of everything about it."""

    name: str

    @property
    def id(self) -> str:
        """Its resource id."""
        return f"ml_{_slug(self.name)}"

    @property
    def revision_id(self) -> str:
        """Its only revision."""
        return f"mr_{_slug(self.name)}"

    @property
    def draft_id(self) -> str:
        """The model that guesses ahead for it."""
        return f"{self.id}-draft"


@dataclass(frozen=True, slots=True)
class Config:
    """How a model runs."""

    model: Model
    hardware: Hardware
    speculation: bool

    @property
    def id(self) -> str:
        """Its resource id."""
        return f"cr_{_slug(self.model.name)}_{_slug(self.hardware.id)}" + ("_spec" if self.speculation else "")

    @property
    def path(self) -> str:
        """Its resource name."""
        return f"projects/{PUBLIC_PROJECT}/configs/{self.id}"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.rpartition("/")[2].lower())


def hardware_name(hardware: Hardware) -> str:
    """v2's name of a hardware configuration, such as ``2xnvidia-h100-80gb``."""
    return f"{hardware.count}x{gpu_type(hardware)}"


def gpu_type(hardware: Hardware) -> str:
    """v2's name of a kind of GPU."""
    return f"nvidia-{hardware.gpu.type}"


def instance_id(hardware: Hardware) -> str:
    """v2's id of a hardware configuration."""
    return f"it_{_slug(hardware.id)}"


def model_path(model_id: str, revision_id: str | None = None) -> str:
    """The resource name of a model, or of one of its revisions."""
    return f"projects/{PUBLIC_PROJECT}/models/{model_id}" + (f"/revisions/{revision_id}" if revision_id else "")


def _configs(model: Model) -> Iterator[Config]:
    for hardware_id in MODELS[model.name]:
        for speculation in (False, True):
            yield Config(model, HARDWARE[hardware_id], speculation)


MODELS_BY_ID = {model.id: model for model in map(Model, MODELS)}
"""All models."""
CONFIGS = {config.id: config for model in MODELS_BY_ID.values() for config in _configs(model)}
"""All configs."""


def default_config(model: Model) -> Config:
    """What the model's public deployment profile names: as few H100 as it fits on, without speculation."""
    h100 = [config for config in _configs(model) if "h100" in config.hardware.gpu.type and not config.speculation]
    return min(h100, key=lambda config: config.hardware.count)
