"""What the platform offers: GPUs, hardware configurations, models and zones."""

import math
from dataclasses import dataclass

ZONES = ("us-central-4a", "us-central-4b", "us-east-1a", "us-west-2a", "eu-west-1b")
"""Availability zones."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One kind of GPU: price in cents per minute, memory in GB, speed relative to an H100."""

    type: str
    link: str
    memory: int
    cents_per_minute: float
    speed: float


@dataclass(frozen=True, slots=True)
class Hardware:
    """A configuration that one replica runs on; the price covers all its GPUs, ``speed`` is relative to two H100."""

    id: str
    gpu: Gpu
    count: int

    @property
    def cents_per_minute(self) -> float:
        """Price of one replica: linear in the number of GPUs."""
        return self.count * self.gpu.cents_per_minute

    @property
    def memory(self) -> int:
        """GB over all GPUs."""
        return self.count * self.gpu.memory

    @property
    def speed(self) -> float:
        """More GPUs answer faster, but twice as many not twice as fast."""
        return self.gpu.speed * math.pow(self.count / 2, SCALING)


SCALING = 0.7
"""Exponent of speed in the number of GPUs: what tensor parallelism loses to communication."""

_GPUS = {
    "nvidia_a100_80gb_pcie": Gpu("a100-80gb", "pcie", 80, 4.0, 0.5),
    "nvidia_a100_80gb_sxm": Gpu("a100-80gb", "sxm", 80, 4.5, 0.55),
    "nvidia_h100_80gb_sxm": Gpu("h100-80gb", "sxm", 80, 9.0, 1.0),
    "nvidia_h200_140gb_sxm": Gpu("h200-140gb", "sxm", 140, 11.0, 1.25),
    "nvidia_b200_180gb_sxm": Gpu("b200-180gb", "sxm", 180, 15.0, 2.0),
}


def _configurations(name: str, counts: tuple[int, ...]) -> list[Hardware]:
    return [Hardware(f"{count}x_{name}", _GPUS[name], count) for count in counts]


HARDWARE = {
    hardware.id: hardware
    for hardware in sorted(
        [
            *_configurations("nvidia_a100_80gb_pcie", (1,)),
            *_configurations("nvidia_a100_80gb_sxm", (2, 4, 8)),
            *_configurations("nvidia_h100_80gb_sxm", (1, 2, 4, 8)),
            *_configurations("nvidia_h200_140gb_sxm", (1, 2, 4, 8)),
            *_configurations("nvidia_b200_180gb_sxm", (1, 2, 4, 8)),
        ],
        key=lambda hardware: hardware.id,
    )
}
"""Every configuration, by id."""

_MIXTRAL = tuple(f"{count}x_{gpu}" for count in (2, 4, 8) for gpu in ("nvidia_a100_80gb_sxm", "nvidia_h100_80gb_sxm"))
_WEIGHTS_OF_70B = 160
_LARGE = tuple(id_ for id_, hardware in HARDWARE.items() if hardware.memory >= _WEIGHTS_OF_70B)
_SMALL = tuple(id_ for id_, hardware in HARDWARE.items() if hardware.memory <= _WEIGHTS_OF_70B)

MODELS: dict[str, tuple[str, ...]] = {
    "mistralai/Mixtral-8x7B-Instruct-v0.1": _MIXTRAL,
    "meta-llama/Llama-3.3-70B-Instruct": _LARGE,
    "meta-llama/Llama-3.1-8B-Instruct": _SMALL,
    "Qwen/Qwen2.5-72B-Instruct": _LARGE,
    "Qwen/Qwen2.5-7B-Instruct": _SMALL,
}
"""Models that a dedicated endpoint may run, and the ids of the hardware each one fits on."""
