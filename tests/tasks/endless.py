"""A module whose import takes longer than any job."""

while True:
    pass
