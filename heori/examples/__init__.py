"""Work to try Heori with: three tasks, and files that every machine with Python has."""
