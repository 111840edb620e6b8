"""The base of every error that Heori raises to its users."""


class HeoriError(Exception):
    """What Heori raises derives from this, whatever else it is."""
