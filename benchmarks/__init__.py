"""Measurements side by side, each pair in the same run: ``python -m benchmarks`` from the repository's root."""
