"""What `heori up` and `heori load` run."""
