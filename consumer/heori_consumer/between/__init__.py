"""What the supervisor and its workers share.

entry: where a worker begins, and how it is asked for. signals: those that only the supervisor
obeys. options: what a worker is told when it is started. frames: what they say to each other.
totals: what a worker has counted. failures: what it tells of those. slot_table: what each slot is
doing, in memory that both see.
"""
