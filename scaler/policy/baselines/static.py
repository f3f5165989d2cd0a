"""A fixed number of replicas: no autoscaling, sized for the peak."""

from scaler.policy.baselines.base import Limits, Periodic, Seen


class Static(Periodic):
    """Always the same count. Source: none needed; it is what people do who do not autoscale."""

    def __init__(self, limits: Limits, replicas: int | None = None) -> None:
        """``replicas``: the peak's, if known; default the most that is allowed."""
        super().__init__(period=60.0)
        self._replicas = limits.max_replicas if replicas is None else replicas

    def decide(self, seen: Seen) -> int:  # noqa: ARG002 (the point is not to look)
        """The count."""
        return self._replicas
