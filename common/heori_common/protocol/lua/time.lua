-- time.lua: the server's time, read once per script so that one batch has one time.
-- Included by other scripts (see their USES line); it is never called by itself.

local clock = redis.call('TIME')
