-- reclaim.lua: give back the jobs whose lease has run out, whoever held it; and strike from the
-- registries jobs whose time there is over.
-- Any number of consumers may call it as often as they like: each queue is looked at at most once an
-- interval. After a time in which nobody has looked, leases from before that are left alone for a
-- while, and so are the locks of jobs: see watched.lua.
-- Entries of stock rq workers are left to rq, which has its own rule for them. A queue with a key
-- of the wrong type is passed over: its jobs wait under their leases until that is mended.
-- The tenants of these queues are looked after in turns, some in each call. One whose jobs were put
-- on its queue by a tool of RQ's, which knows of no turns, gets its turn here.
-- KEYS   queues (set), then for each queue: queue (list), wip (zset), failed (zset); then for each
--        queue: finished (zset)
-- ARGS   interval_ms, watch_ms, lease_s, margin_s, mark, evidence, most_struck, look_again_s,
--        most_looked_at, most_tenants, come_back_s
--        watch_ms: for which the mark of a look stays
--        margin_s: by which a score in wip lies after its lease's end
--        mark: how the name of an execution of ours begins
--        most_struck: entries of each registry
--        look_again_s: until a job that waits for a lock is looked at again
--        most_looked_at: such jobs, and locks; most_tenants: of each queue
-- REPLY  nil when there was nothing to do or to tell, else msgpack [how many were queued again, how many
--        are dead letters, whether holders may still be coming back, [key of the wrong type, …]]
-- USES   now_s, has_type, read_fields, queue_names, arrivals, all_tenants, lock_handover,
--        lock_overdue, lock_record, job_locks, end_lease, our_leases, strike_expired,
--        watched

local total = { queued = 0, dead = 0, gone = 0, lost = 0, kept = 0 }
local broken = {}
local queues = (#KEYS - 1) / 4

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

local tenants
local function tenants_of(queue)
  tenants = tenants or all_tenants(KEYS[1])
  return tenants[queue] or {}
end

-- Whether it is time to look at a queue; whether holders of its leases may still be coming back; and
-- since when it is looked at without a break.
local function begin_look(name, queue, wip)
  local since_s = watched_since(name)
  if since_s and redis.call('PTTL', watched_key(name)) > args.watch_ms - args.interval_ms then
    return false, may_come_back(since_s)
  end
  if not since_s then
    -- pcall: look_after tells of it. Tenants may be too many to look at now.
    local soon_over = redis.pcall('ZCOUNT', wip, '-inf', now_s + args.come_back_s + args.margin_s)
    local any = #tenants_of(queue) > 0 or type(soon_over) == 'number' and soon_over > 0
    since_s = any and now_s or now_s - args.come_back_s -- nobody has to come back
  end
  redis.call('SET', watched_key(name), string.format('%.6f', since_s), 'PX', args.watch_ms)
  return true, may_come_back(since_s), since_s
end

-- Returns whether its keys are as they should be.
--   first_score: of the leases that may be ended
local function look_after(queue, wip, failed, finished, first_score)
  local sound = is_sound('list', queue)
  sound = is_sound('zset', wip) and sound
  sound = is_sound('zset', failed) and sound
  if sound then
    local expired = redis.call('ZRANGEBYSCORE', wip, first_score, now_s + args.margin_s)
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

local function look_after_tenant(queue, wip, failed, finished, first_score)
  if look_after(queue, wip, failed, finished, first_score) and redis.call('EXISTS', queue) == 1 then
    jobs_arrived(queue, redis.call('LLEN', queue))
  end
end

local coming_back, looked = false, false
for q = 0, queues - 1 do
  local queue, wip, failed = unpack(KEYS, 3 * q + 2, 3 * q + 4)
  local name = queue_name(queue)
  local is_due, may_come, since_s = begin_look(name, queue, wip)
  coming_back = coming_back or may_come
  if is_due then
    looked = true
    local mine = tenants_of(queue)
    local finished = KEYS[3 * queues + q + 2]
    -- A lease that was got or extended since ends no sooner.
    local first_score = may_come and since_s + args.lease_s + args.margin_s or '-inf'
    look_after(queue, wip, failed, finished, first_score)
    if #mine > 0 then
      is_sound('zset', turns_key(name))
    end
    local rounds = math.max(1, math.ceil(#mine / args.most_tenants))
    for n = math.floor(now_s) % rounds + 1, #mine, rounds do
      local tenant = mine[n]
      look_after_tenant(of_tenant(queue, tenant), of_tenant(wip, tenant), of_tenant(failed, tenant),
        of_tenant(finished, tenant), first_score)
    end
  end
end
if looked then
  -- not all holders are jobs, and whoever waits for them may be one
  sweep_overdue(args.most_looked_at, function() return coming_back end)
end
if looked or coming_back then
  return cmsgpack.pack({ total.queued, total.dead, coming_back, broken })
end
return false
