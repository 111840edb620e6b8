"""What the supervisor and its workers share: frames, the slot table, outcomes."""
