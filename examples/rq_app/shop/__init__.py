"""A shop that sends its work through RQ, and knows nothing of Heori."""
