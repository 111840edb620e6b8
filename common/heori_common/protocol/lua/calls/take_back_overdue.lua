-- take_back_overdue.lua: take back what no consumer of a service has confirmed in time, though its leader
-- has not done so: that one may be struck.
-- KEYS   nothing
-- ARGS   service
-- REPLY  how many hand-overs and wake-ups were taken back
-- FULL   passes
-- USES   take_back

local taken_back = take_back_overdue(args.service)
return taken_back
