-- reclaim.lua: give back the jobs whose lease has run out, whoever held it; and strike from the
-- registries jobs whose time there is over.
-- Any number of consumers may call it as often as they like: it works at most once an interval.
-- Entries of stock rq workers are left to rq, which has its own rule for them. A queue with a key
-- of the wrong type is passed over: its jobs wait under their leases until that is mended.
-- The tenants of these queues are looked after in turns, some in each call. One whose jobs were put
-- on its queue by a tool of RQ's, which knows of no turns, gets its turn here.
-- KEYS   reaper (string), queues (set), then for each queue: queue (list), wip (zset), failed
--        (zset); then for each queue: finished (zset)
-- ARGS   interval_ms, margin_s, mark, evidence, most_struck, look_again_s, most_looked_at, most_tenants,
--        consumer
--        margin_s: by which a score in wip lies after its lease's end
--        mark: how the name of an execution of ours begins
--        most_struck: entries of each registry
--        look_again_s: until a job that waits for a lock is looked at again
--        most_looked_at: such jobs, and locks; most_tenants: of each queue
-- REPLY  nil when it was not yet time, else msgpack [how many were queued again, how many are
--        dead letters, [key of the wrong type, …]]
-- USES   now_s, has_type, read_fields, queue_names, tenants, all_tenants, lock_handover,
--        lock_overdue, job_locks, end_lease, our_leases, strike_expired

if not redis.call('SET', KEYS[1], args.consumer, 'NX', 'PX', args.interval_ms) then
  return false
end
local total = { queued = 0, dead = 0, gone = 0, lost = 0, kept = 0 }
local broken = {}
local queues = (#KEYS - 2) / 4

-- Jobs that wait for a lock are told of by its release. Should that ever fail, as when somebody has
-- deleted what the lock knew of them, they go back to their queue to ask again.
local function look_at_parked(queue)
  local name = queue_name(queue)
  local parked, deferred = parked_key(name), deferred_key(name)
  local overdue = redis.pcall('ZRANGEBYSCORE', parked, '-inf', now_s, 'LIMIT', 0, args.most_looked_at)
  for _, id in ipairs(overdue.err and {} or overdue) do
    local job = job_key(id)
    local found = read_fields(job, 'status', 'heori_locks')
    local waits = false
    for _, want in ipairs(found.heori_locks and declared_locks(found.heori_locks) or {}) do
      waits = waits or type(redis.pcall('ZSCORE', waiters_key(want[1]), request_of_job(id))) == 'string'
    end
    if waits and found.status == 'deferred' then
      redis.call('ZADD', parked, now_s + args.look_again_s, id)
    else
      requeue_parked(id, job, queue, deferred, parked)
    end
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
    local expired = redis.call('ZRANGEBYSCORE', wip, '-inf', now_s + args.margin_s)
    for _, lease in ipairs(our_leases(expired, args.mark)) do
      local fate = end_lease(queue, wip, failed, lease.id, lease.execution, true, args.evidence)
      total[fate] = total[fate] + 1
    end
  end
  look_at_parked(queue)
  strike_expired(failed, args.most_struck)
  strike_expired(finished, args.most_struck)
  return sound
end

local function look_after_tenant(queue, wip, failed, finished)
  if look_after(queue, wip, failed, finished) and redis.call('EXISTS', queue) == 1 then
    join_turns(queue)
  end
end

local tenants = all_tenants(KEYS[2])
for q = 0, queues - 1 do
  local queue, wip, failed = unpack(KEYS, 3 * q + 3, 3 * q + 5)
  local finished = KEYS[3 * queues + q + 3]
  look_after(queue, wip, failed, finished)
  local mine = tenants[queue] or {}
  if #mine > 0 then
    is_sound('zset', turns_key(queue_name(queue)))
  end
  local rounds = math.max(1, math.ceil(#mine / args.most_tenants))
  for n = math.floor(now_s) % rounds + 1, #mine, rounds do
    local tenant = mine[n]
    look_after_tenant(of_tenant(queue, tenant), of_tenant(wip, tenant), of_tenant(failed, tenant),
      of_tenant(finished, tenant))
  end
end
sweep_overdue(args.most_looked_at) -- not all holders are jobs, and whoever waits for them may be one
return cmsgpack.pack({ total.queued, total.dead, broken })
