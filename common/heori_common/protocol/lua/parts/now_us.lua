-- now_us.lua: the time in whole microseconds, in which locks reckon.
-- USES   server_time

local now_us = tonumber(server_time[1]) * 1000000 + tonumber(server_time[2]) -- exact in a double until 2255
