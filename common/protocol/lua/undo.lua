-- undo.lua: give back what a claim has taken whose reply was lost on the way.
-- KEYS   for each queue: queue (list), wip (zset), failed (zset)
-- ARGS   token, consumer, job_stem, results_stem, max_deliveries, failure_ttl
--        token: of that claim
-- REPLY  how many were given back
-- USES   whole, clock, settle, give_back, ours

local undone = 0
for q = 0, #KEYS / 3 - 1 do
  local queue, wip, failed = KEYS[3 * q + 1], KEYS[3 * q + 2], KEYS[3 * q + 3]
  local running = redis.call('ZRANGE', wip, 0, -1)
  for _, lease in ipairs(ours(running, args.token)) do
    redis.call('ZREM', wip, lease.entry)
    give_back(args, queue, failed, lease.id, lease.execution, false, false)
    undone = undone + 1
  end
end
return undone
