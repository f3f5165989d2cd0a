"""scaler keeps paid LLM endpoints at the right size."""

from importlib.metadata import version

__version__ = version("scaler")
