"""What the supervisor and its workers share.

entry: where a worker begins. options: what it is told when it is started. frames: what they say to
each other. totals: what a worker has counted. slot_table: what each slot is doing, in memory that
both see.
"""
