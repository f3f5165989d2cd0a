"""Baselines beside the live policy, on live demand, without acting: `Shadow` follows one endpoint, `Shadows` all, for those who watch."""

from scaler.shadow.lanes import Beat, Shadow, Standing
from scaler.shadow.watch import Shadows

__all__ = ["Beat", "Shadow", "Shadows", "Standing"]
