"""The worker process: runs jobs in its slots, and nothing else."""
