-- now_s.lua: the time in seconds and fractions, in which RQ and all about jobs reckon.
-- USES   server_time

local now_s = tonumber(server_time[1]) + tonumber(server_time[2]) / 1e6 -- since 1970
