"""Feeds a baseline step by step, as an obedient caller with a cold start would."""

from scaler.policy.baselines import Autoscaler, Limits, Seen


class Told:
    """An autoscaler, and the replicas that its answers have led to. ``boot``: seconds until an added replica serves."""

    def __init__(self, scaler: Autoscaler, limits: Limits, *, ready: int = 1, step: float = 10.0, boot: float = 0.0) -> None:
        self.scaler, self.limits, self.step, self.boot = scaler, limits, step, boot
        self.now, self.ready = 0.0, ready
        self.starts: list[float] = []
        self.answers: list[int | None] = []

    def tick(self, concurrency: float, rate: float = 0.0, ttft: float | None = None) -> int:
        """One step with these means; the replicas wanted after it, running and starting."""
        self.ready += sum(start <= self.now for start in self.starts)
        self.starts = [start for start in self.starts if start > self.now]
        answer = self.scaler.desired(Seen(self.now, concurrency, rate, self.ready, len(self.starts), ttft))
        self.answers.append(answer)
        if answer is not None:
            self._follow(self.limits.clamp(answer))
        self.now += self.step
        return self.ready + len(self.starts)

    def _follow(self, wanted: int) -> None:
        """Cancel starts first; what starts without a boot serves at once."""
        while self.ready + len(self.starts) > wanted and self.starts:
            self.starts.pop()
        self.ready = min(self.ready, wanted)
        missing = wanted - self.ready - len(self.starts)
        if self.boot:
            self.starts += [self.now + self.boot] * missing
        else:
            self.ready += missing

    def seconds(self, seconds: float, concurrency: float, rate: float = 0.0, ttft: float | None = None) -> list[int]:
        """So long the same; the replicas after each step."""
        return [self.tick(concurrency, rate, ttft) for _ in range(round(seconds / self.step))]
