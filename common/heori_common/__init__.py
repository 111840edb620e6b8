"""What producers and consumers share: settings, tasks, the protocol, the way to Redis, locks."""
