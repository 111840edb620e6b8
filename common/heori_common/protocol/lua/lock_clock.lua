-- lock_clock.lua: the time in whole microseconds.
-- Included by other scripts (see their USES line); it is never called by itself.
-- USES   time

local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2]) -- exact in a double until 2255
