"""Replays of traces against a fluid model: what a way of scaling costs, how well it serves, and how far it is from the best possible."""
