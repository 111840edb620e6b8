"""Heori beside its peers, measured in turns: ``python -m benchmarks --help``."""
