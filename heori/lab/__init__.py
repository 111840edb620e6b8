"""Experiments on real processes: which execution model to choose, and what locks are for."""
