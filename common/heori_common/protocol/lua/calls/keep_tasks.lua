-- keep_tasks.lua: keep a version of the tasks, which a consumer has, for another while.
-- KEYS   versions (zset), the tasks of this one (hash)
-- ARGS   version, begins, ttl_s
--        begins: whether the consumer has just started: then its tasks come before all others
-- REPLY  1 when they are there, 0 when they are to be published
-- FULL   passes
-- USES   now_s

local versions, tasks = unpack(KEYS)
if redis.call('EXISTS', tasks) == 0 or not redis.call('ZSCORE', versions, args.version) then
  return 0
end
redis.call('EXPIRE', tasks, args.ttl_s)
redis.call('EXPIRE', versions, args.ttl_s)
if args.begins then
  redis.call('ZADD', versions, now_s, args.version)
end
return 1
