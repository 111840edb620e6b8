"""The producing half: sends jobs and gets their results."""
