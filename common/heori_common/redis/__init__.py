"""The one way to Redis: clients, addresses, sentinels, and the wire protocol."""
