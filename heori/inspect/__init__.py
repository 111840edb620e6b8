"""What there is in a Redis: queues, consumers, dead letters, locks."""
