"""What is said to Redis, and how its answers are read. Pure: nothing here does any I/O."""
