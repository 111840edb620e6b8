-- lock_note_wait.lua: note for a while that an owner waits for another, unless that would never end.
-- KEYS   fence (string), locks (zset), waits (hash)
-- ARGS   owner, about, whom, ttl, deadlock, hops, holders, waiters
--        about: who waits, for people
--        ttl: milliseconds; deadlock: 'raise', 'warn' or 'off'
-- REPLY  msgpack [[owner, about, lock or false], …], the cycle, or false; with 'raise' and a cycle
--        nothing is noted
-- USES   lock_keys, lock_deadlock

local cycle = args.deadlock ~= 'off' and deadlock(args.owner, args.about, false, false, { args.whom })
if not (cycle and args.deadlock == 'raise') then
  redis.call('SET', WAITS .. ':' .. args.owner, cmsgpack.pack({ args.whom, args.about }), 'PX', args.ttl)
end
return cmsgpack.pack(cycle)
