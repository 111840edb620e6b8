-- lock_sweep.lua: look at locks whose holder's lease is over and that nobody has asked for since.
-- KEYS   fence (string), locks (zset), waits (hash)
-- ARGS   most, grant, holders, waiters
--        most: how many locks in one call
-- REPLY  how many there were
-- USES   lock_keys, lock_handover

return sweep_overdue(args.most)
