-- reclaim.lua: give back the jobs whose lease has run out, whoever held it; and strike from the
-- registries jobs whose time there is over.
-- The leader of a service calls it every second, for the queues that are known to have leases, and for
-- some others in turns: there it finds leases of which nobody has told. Leaders of several services may
-- serve the same queue: one with leases is looked at once an interval at most. After a time in which
-- nobody has looked, leases from before that are left alone for a while, and so are the locks of jobs:
-- see watched.lua.
-- A service may serve one of these queues whose consumers are all gone, and then what they were told goes
-- to others here.
-- Entries of stock rq workers are left to rq, which has its own rule for them. A queue with a key
-- of the wrong type is passed over: its jobs wait under their leases until that is mended.
-- The tenants of these queues are looked after in turns, some in each call. One whose jobs were put
-- on its queue by a tool of RQ's, which knows of no turns, gets its turn here.
-- KEYS   queues (set), leased (set), watching (string)
-- ARGS   queues, service, interval_ms, watch_ms, lease_s, margin_s, mark, evidence, most_struck, look_again_s,
--        most_looked_at, most_tenants, few_tenants, come_back_s, whole, leased, anew
--        queues: [name, …]
--        watch_ms: for which the mark of a look stays
--        margin_s: by which a score in wip lies after its lease's end
--        mark: how the name of an execution of ours begins
--        most_struck: entries of each registry
--        look_again_s: until a job that waits for a lock or a rate is looked at again
--        most_looked_at: such jobs, and locks; most_tenants: of each queue; few_tenants: of one where no
--        tenant has a job that waits or is worked on
--        whole: whether these are all queues of the service
--        leased: how many of the queues, from the first on, are known to have leases
--        anew: whether this consumer could not look for a while, as Redis was away or refused: then nobody
--        could, though marks may still be there
-- REPLY  nil when no queue was looked at, else msgpack [how many were queued again, how many
--        are dead letters, whether holders may still be coming back, [key of the wrong type, …],
--        [id of a dead letter, …]: of the first MOST_TOLD]
-- FULL   passes
-- USES   now_s, has_type, read_fields, queue_names, arrivals, all_tenants, lock_handover,
--        lock_overdue, lock_record, job_locks, end_lease, our_leases, strike_expired,
--        watched, take_back, vanished

local MOST_TOLD = 1000
local TOGETHER = 64 -- queues

local total = { queued = 0, dead = 0, gone = 0, lost = 0, kept = 0 }
local broken, dead = {}, {}
local listed, leased, watching = unpack(KEYS)
local watched_all_since_s = not args.anew and watched_since(watching)
local any_soon_over = false -- of the leases where nobody has looked

local waits_for_rate -- made for the first job that has options
local function make_waits_for_rate()
  -- USES   rates

  return function(id, queue, field)
    local line, rate = line_of(queue, field)
    local came_us = line and redis.pcall('ZSCORE', line, id)
    if type(came_us) ~= 'string' or tonumber(came_us) < 0 then
      return false
    end
    -- Else its line would not be looked at, should somebody have deleted that key.
    redis.pcall('ZADD', rates_key(whole_name(queue_name(queue))), 'NX', now_s * 1000000, rate.name)
    return true
  end
end

-- Jobs that wait for a lock are told of by its release, those that wait for a rate when it is their turn,
-- and those of a paused task when it is resumed. Should that ever fail, as when somebody has deleted what was known of them, they go back to their
-- queue to ask again.
local function look_at_parked(queue)
  local name = queue_name(queue)
  local parked, deferred = parked_key(name), deferred_key(name)
  local overdue = redis.pcall('ZRANGEBYSCORE', parked, '-inf', now_s, 'LIMIT', 0, args.most_looked_at)
  for _, id in ipairs(overdue.err and {} or overdue) do
    local job = job_key(id)
    local found = read_fields(job, 'status', 'heori_locks', 'heori_options', 'heori_paused')
    local waits = found.heori_paused and redis.pcall('HEXISTS', paused_key(), 'task:' .. found.heori_paused) == 1
    for _, want in ipairs(found.heori_locks and declared_locks(found.heori_locks) or {}) do
      waits = waits or type(redis.pcall('ZSCORE', waiters_key(want[1]), request_of_job(id))) == 'string'
    end
    if not waits and found.heori_options then
      waits_for_rate = waits_for_rate or make_waits_for_rate()
      waits = waits_for_rate(id, queue, found.heori_options)
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
  tenants = tenants or all_tenants(listed)
  return tenants[queue] or {}
end

local CHUNK = 1000 -- keys of one command

-- How many of the keys are there that `make` gives for each tenant.
local function count_keys(mine, make)
  local found, keys = 0, {}
  for n, tenant in ipairs(mine) do
    for _, key in ipairs({ make(tenant) }) do
      keys[#keys + 1] = key
    end
    if #keys >= CHUNK or n == #mine then
      found, keys = found + redis.call('EXISTS', unpack(keys)), {}
    end
  end
  return found
end

-- Whether it is time to look at a queue with leases; whether their holders may still be coming back;
-- and since when it is looked at without a break.
local function begin_look(name, wip, of_tenants)
  local since_s = not args.anew and watched_since(watched_key(name))
  if since_s and redis.call('PTTL', watched_key(name)) > args.watch_ms - args.interval_ms then
    return false, may_come_back(since_s)
  end
  since_s = since_s or watched_all_since_s
  if not since_s then
    -- pcall: look_after tells of it. Tenants may be too many to look at now.
    local soon_over = redis.pcall('ZCOUNT', wip, '-inf', now_s + args.come_back_s + args.margin_s)
    local any = of_tenants or type(soon_over) == 'number' and soon_over > 0
    any_soon_over = any_soon_over or any
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
      if fate == 'queued' then
        note_vanished(lease.id, lease.execution)
      elseif fate == 'dead' and #dead < MOST_TOLD then
        dead[#dead + 1] = lease.id
      end
    end
  end
  look_at_parked(queue)
  strike_expired(failed, args.most_struck)
  strike_expired(finished, args.most_struck)
  return sound
end

-- Takes back what other services of a queue were told and nobody of them takes back.
local function look_after_services(name)
  local services = redis.pcall('ZRANGE', services_key(name), 0, -1) -- pcall: it may hold something else
  for _, service in ipairs(services.err and {} or services) do
    if service ~= args.service and redis.call('EXISTS', leader_key(service)) == 0 then
      take_back_overdue(service)
    end
  end
end

local function look_after_tenant(queue, wip, failed, finished, first_score)
  if look_after(queue, wip, failed, finished, first_score) and redis.call('EXISTS', queue) == 1 then
    jobs_arrived(queue, redis.call('LLEN', queue))
  end
end

local coming_back, looked = false, false

local function look_at(name, was_leased)
  local queue, wip, failed, finished = queue_key(name), wip_key(name), failed_key(name), finished_key(name)
  local mine = tenants_of(queue)
  -- Jobs that are worked on, or wait for a lock.
  local of_tenants = count_keys(mine, function(tenant)
    return of_tenant(wip, tenant), of_tenant(parked_key(name), tenant)
  end)
  local held = of_tenants + redis.call('EXISTS', wip, parked_key(name))
  local first_score = '-inf'
  if held > 0 then
    local is_due, may_come, since_s = begin_look(name, wip, of_tenants > 0)
    coming_back = coming_back or may_come
    if not is_due then
      return
    end
    -- A lease that was got or extended since ends no sooner.
    first_score = may_come and since_s + args.lease_s + args.margin_s or '-inf'
    if not may_come then -- here alone: what was handed over is leased
      look_after_services(name)
    end
  end
  looked = true
  if (held > 0) ~= was_leased then
    redis.pcall(held > 0 and 'SADD' or 'SREM', leased, name) -- pcall: it may hold something else
  end
  if held > 0 or not was_leased and redis.call('EXISTS', queue, failed, finished) > 0 then
    look_after(queue, wip, failed, finished, first_score)
  end
  if #mine == 0 then
    return
  end
  is_sound('zset', turns_key(name))
  local busy = of_tenants + count_keys(mine, function(tenant) return of_tenant(queue, tenant) end)
  local rounds = math.max(1, math.ceil(#mine / (busy > 0 and args.most_tenants or args.few_tenants)))
  for n = math.floor(now_s) % rounds + 1, #mine, rounds do
    local tenant = mine[n]
    look_after_tenant(of_tenant(queue, tenant), of_tenant(wip, tenant), of_tenant(failed, tenant),
      of_tenant(finished, tenant), first_score)
  end
end

-- Strikes some of the leased queues together if nobody holds a lease in any: in a second, the leases of
-- thousands may have ended. The rest of such a queue is looked at in its turn. Returns whether it did.
local function strike_ended(first, last)
  local names, keys = {}, {}
  for n = first, last do
    local name = args.queues[n]
    if #tenants_of(queue_key(name)) > 0 then
      return false
    end
    names[#names + 1] = name
    keys[#keys + 1], keys[#keys + 2] = wip_key(name), parked_key(name)
  end
  if redis.call('EXISTS', unpack(keys)) > 0 then
    return false
  end
  redis.pcall('SREM', leased, unpack(names)) -- pcall: as above
  looked = true
  return true
end

for first = 1, args.leased, TOGETHER do
  local last = math.min(first + TOGETHER - 1, args.leased)
  if not strike_ended(first, last) then
    for n = first, last do
      look_at(args.queues[n], true)
    end
  end
end
for n = args.leased + 1, #args.queues do
  look_at(args.queues[n], false)
end
if not watched_all_since_s then
  watched_all_since_s = args.whole and not any_soon_over and now_s - args.come_back_s or now_s
end
redis.call('SET', watching, string.format('%.6f', watched_all_since_s), 'PX', args.watch_ms)
-- not all holders are jobs, and whoever waits for them may be one
sweep_overdue(args.most_looked_at, function() return coming_back end)
if looked or coming_back then
  return cmsgpack.pack({ total.queued, total.dead, coming_back, broken, dead })
end
return false
