-- lock_sweep.lua: take locks from holders whose lease is over where nobody has asked since.
-- KEYS   none declared: those of the locks
-- ARGS   most
--        most: how many locks in one call
-- REPLY  how many there were
-- FULL   passes
-- USES   lock_overdue

return sweep_overdue(args.most)
