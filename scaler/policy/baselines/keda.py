"""KEDA: a Kubernetes HPA between one and many, and its own poll between zero and one."""

from dataclasses import replace

from scaler.policy.baselines.base import ROUNDING, USUAL_SHARE, Limits, Periodic, Seen
from scaler.policy.baselines.hpa import PERIOD, Hpa

POLLING_INTERVAL = 30.0
COOLDOWN = 300.0
ACTIVATION = 0.0


class Keda(Periodic):
    """From zero to max(1, min) when a poll finds the metric above the activation threshold; from one on the HPA's law.

    Back to zero (only if the minimum is zero) when a poll finds it inactive and the last active one is longer ago than the cooldown;
    a service that was never active has no cooldown to wait for.

    Source: kedacore/keda, pkg/scaling/executor/scale_scaledobjects.go (activation and cooldown),
    apis/keda/v1alpha1/scaledobject_types.go (the defaults); the rest is Kubernetes' HPA.
    """

    def __init__(self, limits: Limits, *, share: float = USUAL_SHARE) -> None:
        """Steers to ``share`` of what a replica is good for."""
        super().__init__(PERIOD)
        self._floor = max(1, limits.min_replicas)
        self._may_sleep = limits.min_replicas == 0
        self._hpa = Hpa(replace(limits, min_replicas=self._floor), share=share)
        self._poll_due: float | None = None
        self._last_active: float | None = None

    def decide(self, seen: Seen) -> int | None:
        """The HPA's turn, and every second time the poll's."""
        polled = self._poll_due is None or seen.now >= self._poll_due - ROUNDING
        if polled:
            self._poll_due = seen.now + POLLING_INTERVAL
            active = seen.concurrency > ACTIVATION
            self._last_active = seen.now if active else self._last_active
            if not seen.replicas:
                return self._floor if active or not self._may_sleep else None
            if not active and self._may_sleep and self._cooled(seen.now):
                return 0
        return self._hpa.desired(seen) if seen.replicas else None

    def _cooled(self, now: float) -> bool:
        return self._last_active is None or now - self._last_active > COOLDOWN
