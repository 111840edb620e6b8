-- lock_clock.lua: the server's time in whole microseconds, read once per script.
-- Included by other scripts (see their USES line); it is never called by itself.

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2]) -- exact in a double until 2255
