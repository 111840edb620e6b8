-- pause.lua: have nobody claim the jobs of a queue, a tenant or a task; see pauses.lua.
-- KEYS   nothing
-- ARGS   what
--        what: the field in the hash of pauses
-- REPLY  1, or 0 if it was paused already
-- FULL   passes
-- USES   now_s

return redis.call('HSETNX', paused_key(), args.what, string.format('%.3f', now_s))
