"""The front door: the command line, and what needs both producer and consumer."""
