-- lock_set_limit.lua: change how many permits a semaphore has, while it is in use. Holders above a
-- lowered limit keep their permits; nobody gets one until there are fewer.
-- KEYS   the lock (hash)
-- ARGS   limit
--        limit: permits, or false for what each holder declares
-- REPLY  nothing
-- FULL   is refused
-- USES   lock_handover

if args.limit then
  redis.call('HSET', KEYS[1], 'limit', args.limit)
else
  redis.call('HDEL', KEYS[1], 'limit')
end
expire_holders(KEYS[1])
grant_to_waiters(KEYS[1])
return false
