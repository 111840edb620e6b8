-- lock_note_wait.lua: note for a while that an owner waits for another, unless that would never end.
-- KEYS   none declared: those of the locks that come into it
-- ARGS   owner, about, whom, ttl_ms, deadlock
--        about: who waits, for people
--        deadlock: 'raise', 'warn' or 'off'
-- REPLY  msgpack [[owner, about, lock or false], …], the cycle, or false; with 'raise' and a cycle
--        nothing is noted
-- FULL   passes
-- USES   lock_deadlock

local cycle = args.deadlock ~= 'off' and deadlock(args.owner, args.about, false, false, { args.whom })
if not (cycle and args.deadlock == 'raise') then
  redis.call('SET', owner_wait_key(args.owner), cmsgpack.pack({ args.whom, args.about }), 'PX', args.ttl_ms)
end
return cmsgpack.pack(cycle)
