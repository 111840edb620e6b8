"""Periodic jobs: when their ticks are, and what is sent then."""
