-- reclaim.lua: give back the jobs whose lease has run out, whoever held it; and strike from the
-- registries jobs whose time there is over, as rq's registries do it when a worker of its own
-- looks after them (rq 3.0.0, rq/registry.py, cleanup): their keys expire, these entries do not.
-- Any number of consumers may call it as often as they like: it works at most once an interval.
-- Entries of stock rq workers are left to rq, which has its own rule for them. A queue with a key
-- of the wrong type is passed over: its jobs wait under their leases until that is mended.
-- KEYS   reaper (string), then for each queue: queue (list), wip (zset), failed (zset); then for
--        each queue: finished (zset)
-- ARGS   interval, margin, mark, evidence, strike,
--        consumer, job_stem, results_stem, max_deliveries, failure_ttl, unreadable
--        interval: milliseconds
--        margin: seconds by which a score in wip lies after its lease's end
--        strike: how many entries of each registry at most
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
local queues = (#KEYS - 1) / 4

local function strike(registry)
  -- pcall: its key may hold something else; whoever writes to it says so
  local overdue = redis.pcall('ZCOUNT', registry, '-inf', now)
  if type(overdue) == 'number' and overdue > 0 then
    redis.call('ZREMRANGEBYRANK', registry, 0, math.min(overdue, args.strike) - 1)
  end
end

for q = 0, queues - 1 do
  local first = 3 * q + 2
  local queue, wip, failed = KEYS[first], KEYS[first + 1], KEYS[first + 2]
  local sound = true
  for offset, kind in ipairs({ 'list', 'zset', 'zset' }) do
    local number = first + offset - 2
    if not holds(kind, KEYS[number + 1]) then
      broken[#broken + 1] = number
      sound = false
    end
  end
  if sound then
    local expired = redis.call('ZRANGEBYSCORE', wip, '-inf', now + args.margin)
    for _, lease in ipairs(ours(expired, args.mark)) do
      local fate = unlease(args, queue, wip, failed, lease.id, lease.execution, true, args.evidence)
      total[fate] = total[fate] + 1
    end
  end
  strike(failed)
  strike(KEYS[3 * queues + q + 2])
end
return cmsgpack.pack({ total.queued, total.dead, broken })
