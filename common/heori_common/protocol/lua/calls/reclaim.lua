-- reclaim.lua: give back the jobs whose lease has run out, whoever held it; and strike from the
-- registries jobs whose time there is over, as rq's registries do it when a worker of its own
-- looks after them (rq 3.0.0, rq/registry.py, cleanup): their keys expire, these entries do not.
-- Any number of consumers may call it as often as they like: it works at most once an interval.
-- Entries of stock rq workers are left to rq, which has its own rule for them. A queue with a key
-- of the wrong type is passed over: its jobs wait under their leases until that is mended.
-- The tenants of these queues are looked after in turns, some in each call. One whose jobs were put
-- on its queue by a tool of RQ's, which knows of no turns, gets its turn here; one of whom nothing
-- has been left for a while, not even a result, is forgotten.
-- KEYS   reaper (string), queues (set), then for each queue: queue (list), wip (zset), failed
--        (zset); then for each queue: finished (zset)
-- ARGS   interval, margin, mark, evidence, strike, look, most, queue_stem, deferred_stem, parked_stem,
--        most_tenants, job_registries, dropped_stem, idle_stem, forget,
--        consumer, job_stem, results_stem, max_deliveries, failure_ttl, unreadable,
--        lock_stem, lock_keys, holders, waiters, grant
--        interval: milliseconds
--        margin: seconds by which a score in wip lies after its lease's end
--        strike: how many entries of each registry at most
--        look: seconds until a job that waits for a lock is looked at again
--        most: how many such jobs, and locks, at most
--        mark: how the name of an execution of ours begins
--        unreadable: the failure of a job whose key holds no hash
--        job_registries: [stem, …] of the other keys that list jobs of a queue
--        forget: milliseconds
-- REPLY  nil when it was not yet time, else msgpack [how many were queued again, how many are
--        dead letters, [key of the wrong type, …]]
-- USES   job_lock_keys, now_s, has_type, tenants, lock_handover, job_locks, end_lease, our_leases

if not redis.call('SET', KEYS[1], args.consumer, 'NX', 'PX', args.interval) then
  return false
end
local total = { queued = 0, dead = 0, gone = 0, lost = 0, kept = 0 }
local broken = {}
local queues = (#KEYS - 2) / 4

-- Jobs that wait for a lock are told of by its release. Should that ever fail, as when somebody has
-- deleted what the lock knew of them, they go back to their queue to ask again.
local function look_at_parked(queue)
  local name = string.sub(queue, #args.queue_stem + 1)
  local parked, deferred = args.parked_stem .. name, args.deferred_stem .. name
  local due = redis.pcall('ZRANGEBYSCORE', parked, '-inf', now_s, 'LIMIT', 0, args.most)
  for _, id in ipairs(due.err and {} or due) do
    local job = args.job_stem .. id
    local found = redis.pcall('HMGET', job, 'status', 'heori_locks')
    local waits = false
    for _, want in ipairs(found[2] and declared_locks(found[2]) or {}) do
      waits = waits or type(redis.pcall('ZSCORE', want[1] .. args.waiters, request_of_job(id))) == 'string'
    end
    if waits and found[1] == 'deferred' then
      redis.call('ZADD', parked, now_s + args.look, id)
    else
      requeue_parked({ id, job, queue, deferred, parked })
    end
  end
end

local function strike(registry)
  -- pcall: its key may hold something else; whoever writes to it says so
  local overdue = redis.pcall('ZCOUNT', registry, '-inf', now_s)
  if type(overdue) == 'number' and overdue > 0 then
    redis.call('ZREMRANGEBYRANK', registry, 0, math.min(overdue, args.strike) - 1)
  end
end

local function is_sound(kind, key)
  local sound = has_type(kind, key)
  if not sound then
    broken[#broken + 1] = key
  end
  return sound
end

-- Returns whether its keys are as they should be.
local function look_after(queue, wip, failed, finished)
  local sound = is_sound('list', queue)
  sound = is_sound('zset', wip) and sound
  sound = is_sound('zset', failed) and sound
  if sound then
    local expired = redis.call('ZRANGEBYSCORE', wip, '-inf', now_s + args.margin)
    for _, lease in ipairs(our_leases(expired, args.mark)) do
      local fate = end_lease(args, queue, wip, failed, lease.id, lease.execution, true, args.evidence)
      total[fate] = total[fate] + 1
    end
  end
  look_at_parked(queue)
  strike(failed)
  strike(finished)
  return sound
end

local function look_after_tenant(queue, wip, failed, finished)
  local name = string.sub(queue, #args.queue_stem + 1)
  if not look_after(queue, wip, failed, finished) then
    return
  elseif redis.call('EXISTS', queue) == 1 then
    join_turns(queue)
  end
  local others = {}
  for n, stem in ipairs(args.job_registries) do
    others[n] = stem .. name
  end
  local idle = args.idle_stem .. name
  local left = redis.call('PTTL', idle)
  if redis.call('EXISTS', queue, wip, failed, finished, unpack(others)) > 0 then
    redis.call('UNLINK', idle)
  elseif left < 0 then
    redis.call('SET', idle, '', 'PX', 2 * args.forget)
  elseif left <= args.forget then -- not before: RQ names a queue some time before its first job is on it
    redis.call('SREM', KEYS[2], queue)
    redis.call('UNLINK', idle, args.dropped_stem .. name)
  end
end

local tenants = all_tenants(KEYS[2])
for q = 0, queues - 1 do
  local queue, wip, failed = unpack(KEYS, 3 * q + 3, 3 * q + 5)
  local finished = KEYS[3 * queues + q + 3]
  look_after(queue, wip, failed, finished)
  local mine = tenants[queue] or {}
  if #mine > 0 then
    is_sound('zset', queue .. '@')
  end
  local rounds = math.max(1, math.ceil(#mine / args.most_tenants))
  for n = math.floor(now_s) % rounds + 1, #mine, rounds do
    local suffix = '@' .. mine[n]
    look_after_tenant(queue .. suffix, wip .. suffix, failed .. suffix, finished .. suffix)
  end
end
sweep_overdue(args.most) -- not all holders are jobs, and whoever waits for them may be one
return cmsgpack.pack({ total.queued, total.dead, broken })
