"""A Django project of one application, whose tasks Heori runs."""
