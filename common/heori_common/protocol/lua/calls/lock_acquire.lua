-- lock_acquire.lua: take all of some locks at once, or wait for the first that is not to be had.
-- KEYS   each lock (hash)
-- ARGS   nothing
-- REPLY  what ask_for_locks.lua returns
-- FULL   is refused
-- USES   ask_for_locks

return ask_for_locks()
