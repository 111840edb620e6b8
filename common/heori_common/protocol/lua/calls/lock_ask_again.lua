-- lock_ask_again.lua: what has become of a request for locks; one that was passed over
-- comes back with its ticket. So those who wait do so while memory is full, too.
-- KEYS   each lock (hash)
-- ARGS   nothing
-- REPLY  what ask_for_locks.lua returns
-- FULL   passes
-- USES   ask_for_locks

return ask_for_locks({})
