"""``python -m scaler``."""

from scaler.cli import main

main()
