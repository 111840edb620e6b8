-- reclaim.lua: give back the jobs whose lease has run out, whoever held it.
-- Any number of consumers may call it as often as they like: it works at most once an interval.
-- Entries of stock rq workers are left to rq, which has its own rule for them. A queue with a key
-- of the wrong type is passed over: its jobs wait under their leases until that is mended.
-- KEYS   reaper (string), then for each queue: queue (list), wip (zset), failed (zset)
-- ARGS   interval, margin, mark, evidence,
--        consumer, job_stem, results_stem, max_deliveries, failure_ttl, unreadable
--        interval: milliseconds
--        margin: seconds by which a score in wip lies after its lease's end
--        mark: how the name of an execution of ours begins
--        unreadable: the failure of a job whose key holds no hash
-- REPLY  nil when it was not yet time, else msgpack [how many were queued again, how many are
--        dead letters, [number of a key of the wrong type from 0, …]]
-- USES   whole, clock, settle, give_back, holds, unlease, ours

if not redis.call('SET', KEYS[1], args.consumer, 'NX', 'PX', args.interval) then
  return false
end
local total = { queued = 0, dead = 0, gone = 0, lost = 0, kept = 0 }
local broken = {}
for first = 2, #KEYS, 3 do
  local sound = true
  for offset, kind in ipairs({ 'list', 'zset', 'zset' }) do
    local number = first + offset - 2
    if not holds(kind, KEYS[number + 1]) then
      broken[#broken + 1] = number
      sound = false
    end
  end
  if sound then
    local queue, wip, failed = KEYS[first], KEYS[first + 1], KEYS[first + 2]
    local expired = redis.call('ZRANGEBYSCORE', wip, '-inf', now + args.margin)
    for _, lease in ipairs(ours(expired, args.mark)) do
      local fate = unlease(args, queue, wip, failed, lease.id, lease.execution, true, args.evidence)
      total[fate] = total[fate] + 1
    end
  end
end
return cmsgpack.pack({ total.queued, total.dead, broken })
