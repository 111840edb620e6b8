-- now_us.lua: the time in whole microseconds, in which locks reckon.
-- USES   server_time

-- Exact in a double until 2255. Redis writes a number that is given to a command with all its digits;
-- Lua's own text of it, as `..` makes, is 1.79e+15.
local now_us = server_time[1] * 1000000 + server_time[2]
