-- lock_force_release.lua: take a lock from a holder that has not asked for it, and hand it to the next.
-- KEYS   the lock (hash), forced (string)
-- ARGS   id
-- REPLY  1; 0 when it holds nothing, and nothing was done
-- FULL   passes
-- USES   lock_handover

local lock, forced = unpack(KEYS)
if not redis.call('ZSCORE', holders_key(lock), args.id) then
  return 0
end
remove_holder(lock, args.id)
grant_to_waiters(lock)
redis.call('INCR', forced) -- last: should the key hold something else, the lock has passed all the same
return 1
