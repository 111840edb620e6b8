"""What `manage.py` finds of Heori."""
