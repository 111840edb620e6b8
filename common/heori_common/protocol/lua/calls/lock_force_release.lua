-- lock_force_release.lua: take a lock from a holder that has not asked for it, and hand it to the next.
-- KEYS   fence (string), locks (zset), waits (hash), the lock (hash), forced (string)
-- ARGS   id, grant, holders, waiters
-- REPLY  1; 0 when it holds nothing, and nothing was done
-- USES   lock_keys, lock_handover

if not redis.call('ZSCORE', KEYS[4] .. args.holders, args.id) then
  return 0
end
remove_holder(KEYS[4], args.id)
grant_to_waiters(KEYS[4])
redis.call('INCR', KEYS[5]) -- last: should the key hold something else, the lock has passed all the same
return 1
