-- undo.lua: give back what a claim has taken whose reply was lost on the way.
-- KEYS   for each queue: queue (list), wip (zset), failed (zset)
-- ARGS   token,
--        consumer, job_stem, results_stem, max_deliveries, failure_ttl, unreadable,
--        lock_stem, lock_keys, holders, waiters, grant
--        token: of that claim
--        unreadable: the failure of a job whose key holds no hash
-- REPLY  how many it had taken
-- USES   whole, time, lock_clock, job_lock_keys, lock_state, lock_pass, let_go, clock, settle, give_back, holds, unlease, ours

local taken = 0
for first = 1, #KEYS, 3 do
  local queue, wip, failed = KEYS[first], KEYS[first + 1], KEYS[first + 2]
  if holds('zset', wip) then -- else the claim has passed over this queue
    for _, lease in ipairs(ours(redis.call('ZRANGE', wip, 0, -1), args.token)) do
      unlease(args, queue, wip, failed, lease.id, lease.execution, false, false)
      taken = taken + 1
    end
  end
end
return taken
