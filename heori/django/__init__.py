"""Heori behind Django's Tasks framework: Django 6's own, or before it the package django-tasks.

    TASKS = {"default": {"BACKEND": "heori.django.HeoriBackend"}}

`manage.py heori_worker` runs the jobs. Nothing of this is imported where Django is not used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heori.django.backend import HeoriBackend
    from heori.django.middleware import CloseOldConnections

__all__ = ["CloseOldConnections", "HeoriBackend"]


def __getattr__(name: str) -> Any:
    # Django imports this package before its settings are there, which both of these need.
    if name == "HeoriBackend":
        from heori.django.backend import HeoriBackend  # noqa: PLC0415

        return HeoriBackend
    if name == "CloseOldConnections":
        from heori.django.middleware import CloseOldConnections  # noqa: PLC0415

        return CloseOldConnections
    raise AttributeError(f"module 'heori.django' has no attribute {name[:100]!r}")
