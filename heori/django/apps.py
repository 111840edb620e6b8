"""Has Django know the package as an application, for its management command."""

from django.apps import AppConfig


class HeoriConfig(AppConfig):  # type: ignore[misc]  # Django has no types
    """The application; its label is free of the name that Django itself has."""

    name = "heori.django"
    label = "heori"
