"""What a forecast fell short of is made good by headroom, which fades while forecasts hold.

Where a load has lately been above all that was foreseen for it, it will be again: bursts come in days of bursts. So each step that does
raises the headroom, and each that does not lowers it, by as much as leaves it alone where loads exceed their forecasts as rarely as the
quantile says. Adaptive conformal inference (Gibbs and Candès, Adaptive conformal inference under distribution shift, NeurIPS 2021),
on the logarithm of the headroom.
"""

import math
from dataclasses import dataclass

from scaler.policy.forecast.columns import WINDOW

RATE = 0.005
"""What a step above its forecasts raises the logarithm by: ten minutes of them by a tenth."""
MOST = 0.3
"""What the logarithm may grow to: a third more."""


@dataclass(frozen=True, slots=True)
class Margin:
    """Headroom that an endpoint's forecasts have earned.

    extra:    logarithm of the factor on its forecasts, beside the headroom that all have
    prepared: peak ahead with all headroom, replicas, as of each of the last steps, oldest first; empty after a gap
    """

    extra: float = 0.0
    prepared: tuple[float, ...] = ()

    @property
    def factor(self) -> float:
        """On both quantiles."""
        return math.exp(self.extra)

    def after(self, demand: float, prepared: float, *, risk: float, lead: int) -> "Margin":
        """The margin after a step of ``demand`` replicas, at whose end a peak of ``prepared`` is foreseen for ``lead`` steps later.

        The step is held against the highest forecast whose window it lay in, which it may exceed with the probability ``risk``. Where
        either is not known (NaN), nothing is judged.
        """
        if math.isnan(demand) or math.isnan(prepared):
            return Margin(self.extra)
        reach, extra = lead + WINDOW, self.extra
        if len(self.prepared) >= reach:
            exceeded = demand > max(self.prepared[-reach : len(self.prepared) - lead])
            extra = min(max(extra + RATE * (exceeded - risk), 0.0), MOST)
        return Margin(extra, (*self.prepared, prepared * math.exp(extra))[-reach:])
