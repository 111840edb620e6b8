-- lock_set_limit.lua: change how many permits a semaphore has, while it is in use. Holders above a
-- lowered limit keep their permits; nobody gets one until there are fewer.
-- KEYS   fence (string), locks (zset), waits (hash), the lock (hash)
-- ARGS   limit, grant, holders, waiters
--        limit: permits, or false for what each holder declares
-- REPLY  nothing
-- USES   lock_keys, lock_handover

if args.limit then
  redis.call('HSET', KEYS[4], 'limit', args.limit)
else
  redis.call('HDEL', KEYS[4], 'limit')
end
expire_holders(KEYS[4])
grant_to_waiters(KEYS[4])
return false
