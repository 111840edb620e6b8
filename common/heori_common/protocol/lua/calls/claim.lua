-- claim.lua: pop up to `count` jobs, lease each to one consumer, return what a worker needs.
-- Fewer when they are large: once their payloads come to most_bytes, the rest stays where it is.
-- An id whose job was cancelled, has ended or is gone is dropped. A job that cannot run as it
-- stands (no data, too large, a broken key) is leased like the others and returned with its
-- problem named, so that the consumer fails it where RQ's tools show it.
-- A queue with a key of the wrong type is passed over, and the key told.
-- A job that declares locks is claimed when it has them all; else it waits for one of them, and
-- leaves its place in this claim to another. A job without locks pays nothing for it.
-- Nothing of a paused queue or tenant is claimed; a job of a paused task is set aside.
-- Where a queue has tenants, these and the jobs of no tenant take turns in the queue's place.
-- When there is nothing to claim, the consumer's offer is left in its stead: see offers.lua.
-- KEYS   nothing
-- ARGS   queues, count, shares, lease_s, margin_s, consumer, token, max_payload, most_bytes, most_parked,
--        service, offer, last_offers, received, told_s, strict, careful
--        queues: msgpack [name, …]
--        shares: [how many to take from each queue at first, …]; what is left of count is then
--        taken in the order of the queues
--        lease_s: from now; margin_s: by which a score in wip lies after the lease's end
--        token: how the names of all executions of this call begin
--        most_parked: jobs that are left to wait for a lock in one call, about
--        offer: what to leave, or ''; last_offers: [what may have been left before, …]
--        received: [hand-over or wake-up, …] that the consumer has got, as it was told
--        told_s: how long it is believed that consumers of this service are there
--        strict: whether each execution is recorded at once
--        careful: whether leases are looked at before anything is popped, as some could not be taken just
--        now: what is popped and put back wakes whoever watches the queue, and so this consumer again
-- REPLY  msgpack [now_s, whether there were ids, whether RQ's workers are suspended, [key of the wrong
--        type, …], [ClaimReply, …], [number from 0 of a hand-over that was taken back, …], whether
--        the latest of last_offers was still there, whether the leader has left anything overdue,
--        [[queue number from 0, id] that was dropped as nothing is left of its job, …],
--        [queue number from 0 of a job that has expired, …], how many queues from the first on have nothing
--        more]
-- FULL   passes
-- USES   now_s, now_us, claim_job

local LOOKED_AT, FEWER = 32, 8 -- queues that are asked after at a time; by how much fewer, if few have jobs
local LEADERS_TIME_US = 20000 -- in which the leader takes back by itself what is overdue

local claims, claimed = {}, {}
local popped, parked, broken, refusal, gone, expired = 0, 0, {}, false, {}, {}
local bytes = 0 -- of the payloads that were read
local first_left -- the number of the first queue that may have more
local score_s = math.ceil(now_s + args.lease_s + args.margin_s) -- of its lease in wip
local score = string.format('%d', score_s) -- a number is made text each time that a command gets it
local handed, offers = handed_key(args.service), offers_key(args.service)

local taken_back = {}
for n, told in ipairs(args.received) do
  if redis.pcall('ZREM', handed, told) ~= 1 then
    -- It may have been confirmed by a call whose reply was lost. Then the consumer has kept its jobs.
    local _, _, name, jobs = unpack(cmsgpack.unpack(told))
    for job = 1, #jobs, 2 do
      if not redis.pcall('ZSCORE', wip_key(name), jobs[job] .. ':' .. jobs[job + 1]) then
        taken_back[#taken_back + 1] = n - 1
        break
      end
    end
  end
end
local oldest = redis.pcall('ZRANGE', handed, 0, 0, 'WITHSCORES')[2] -- pcall: it may hold something else
local is_overdue = oldest ~= nil and tonumber(oldest) + LEADERS_TIME_US < now_us
local withdrawn = false
for _, offer in ipairs(args.last_offers) do
  withdrawn = redis.pcall('ZREM', offers, offer) == 1
end

local names, leased = cmsgpack.unpack(args.queues), {} -- of all queues, and of those that have leases now

local function reply(suspended)
  if #leased > 0 then
    redis.pcall('SADD', leased_key(), unpack(leased)) -- pcall: the reaper looks at all in turn as well
  end
  if #claims == 0 and args.offer ~= '' and (suspended or popped == 0) then
    -- Each queue is to be known to have consumers of this service.
    if redis.call('EXISTS', service_key(args.service)) == 0 then
      for _, name in ipairs(names) do
        local services = services_key(name)
        redis.pcall('ZREMRANGEBYSCORE', services, '-inf', now_s)
        redis.pcall('ZADD', services, now_s + 2 * args.told_s, args.service)
        redis.pcall('EXPIRE', services, 2 * args.told_s)
      end
      redis.call('SET', service_key(args.service), '', 'EX', args.told_s)
    end
    if type(redis.pcall('ZADD', offers, now_us, args.offer)) == 'number' then -- else it holds something else
      redis.call('EXPIRE', offers, 2 * args.told_s) -- the last of its consumers may be killed while they wait
    end
  end
  return cmsgpack.pack({ now_s, popped > 0, suspended, broken, claims, taken_back, withdrawn, is_overdue,
    gone, expired, (first_left or #names + 1) - 1 })
end

local rare -- what is done with jobs that need more than a slot, made for the first of them
local function make_rare()
  -- USES   job_locks, take_job_locks, pauses, task_pauses, job_options, expire_job

  -- Returns its locks and their fences and for how long it waited for them, or false when it waits for
  -- one; or nil and what is the matter.
  local function take_declared_locks(id, job, queue, field)
    local wanted = declared_locks(field)
    if not wanted then
      return nil, 'its heori_locks ' .. string.sub(field, 1, 40) .. ' have no meaning'
    end
    local ok, held, more = pcall(take_job_locks, id, job, queue, wanted, (score_s - args.margin_s) * 1000000)
    if not ok then
      return nil, 'a key of its locks does not hold what it should; see TYPE'
    end
    return held, more
  end

  -- Whether a job with options runs, and what is to be called then, or nil; false when it has expired or
  -- was put aside; or nil and what is the matter.
  local function fate_of_options(q, id, queue, values)
    local ok, fate, more = pcall(fate_by_options, id, queue, values)
    if not ok then
      return nil, 'a key that its heori_options name does not hold what it should; see TYPE'
    end
    if fate == 'aside' then
      parked = parked + 1
    elseif fate == 'expired' then
      expire_job(id, queue, values, more)
      expired[#expired + 1] = q - 1
    end
    return fate and fate == 'runs', more
  end

  return { take_declared_locks = take_declared_locks, fate_of_options = fate_of_options,
    read_pauses = read_pauses, wait_if_paused = wait_if_paused }
end

local pauses = false -- what is paused, or false
if redis.call('EXISTS', suspended_key(), paused_key()) > 0 then
  if redis.call('EXISTS', suspended_key()) == 1 then
    return reply(true)
  end
  if redis.call('EXISTS', paused_key()) == 1 then
    rare = make_rare()
    pauses = rare.read_pauses()
  end
end

local record -- made for the first execution that is recorded at once
local function make_record()
  -- USES   executions
  return note_execution
end

-- Returns false for an id that is dropped or put aside.
local function claim(q, tenant, queue, wip, id, execution)
  local job = job_key(id)
  local values, problem = read_claimable(job, args.max_payload)
  if not values then
    if problem then
      gone[#gone + 1] = { q - 1, id }
    end
    return false
  end
  bytes = bytes + #(values[DATA] or '')
  -- The same id twice in the list: the other one is running under a live lease.
  if claimed[id] or values[STATUS] == 'started' and values[HEORI_EXECUTION]
    and redis.call('ZSCORE', wip, id .. ':' .. values[HEORI_EXECUTION]) then
    return false
  end
  local begin -- what is to be called once it is claimed
  if pauses and pauses.any_task then
    local ok, waits = pcall(rare.wait_if_paused, id, queue, pauses) -- pcall: a key may hold anything
    if ok and waits then
      parked = parked + 1
      return false
    end
  end
  if values[HEORI_OPTIONS] and not problem then
    rare = rare or make_rare()
    local runs, more = rare.fate_of_options(q, id, queue, values)
    if runs == false then
      return false
    elseif runs then
      begin = more
    else
      problem = more
    end
  end
  local locks, waited_s = false, 0
  if values[HEORI_LOCKS] and not problem then
    rare = rare or make_rare()
    local held, more = rare.take_declared_locks(id, job, queue, values[HEORI_LOCKS])
    if held == false then
      parked = parked + 1
      return false
    end
    if held then
      locks, waited_s = held, more
    else
      problem = more or false
    end
  end
  claimed[id] = true
  if begin and not problem then
    pcall(begin) -- pcall: it is claimed all the same
  end
  claims[#claims + 1] = note_claim(args.consumer, id, job, execution, values, problem, q - 1, tenant, locks, waited_s)
  if args.strict or says(values[RATE_LIMIT_KEY]) then -- rq asks whether it runs before it frees its slot
    record = record or make_record()
    record(args.consumer, id, execution, args.lease_s)
  end
  return true
end

local looked_at = {} -- what is known of a queue, by number; see look_at
local named = 0 -- how many executions have a name by now

-- Puts ids back to the front of their queue, but for so many of the first.
local function put_back(queue, ids, taken)
  local left = {} -- the first of them last, as each goes to the front
  for n = #ids, taken + 1, -1 do
    left[#left + 1] = ids[n]
  end
  if #left > 0 then
    redis.call('LPUSH', queue, unpack(left))
  end
end

-- What a key says that does not hold what it should is told; any other refusal ends the claim.
local function note_refusal(key, said)
  if string.find(said.err, 'WRONGTYPE', 1, true) then
    broken[#broken + 1] = key
  else
    refusal = said -- not raised: what was popped before must be told
  end
  return 0, true
end

-- Returns how many ids were taken, and whether there are no more.
local function take_from(q, tenant, queue, wip, most)
  local ids = redis.pcall('LPOP', queue, most)
  if not ids then
    return 0, true
  elseif ids.err then
    return note_refusal(queue, ids)
  end
  -- The leases of all of them first: whether wip takes any is known then, and nothing has been done.
  local leases, executions = {}, {}
  for n, id in ipairs(ids) do
    executions[n] = args.token .. string.format('%04x', named + n)
    leases[2 * n - 1], leases[2 * n] = score, id .. ':' .. executions[n]
  end
  named = named + #ids
  local added = redis.pcall('ZADD', wip, unpack(leases))
  if type(added) == 'table' then
    put_back(queue, ids, 0)
    return note_refusal(wip, added)
  end
  local taken, dropped = 0, {}
  for n, id in ipairs(ids) do
    if bytes < args.most_bytes then
      taken = n
    end
    if taken < n or not claim(q, tenant, queue, wip, id, executions[n]) then
      dropped[#dropped + 1] = leases[2 * n]
    end
  end
  if #dropped > 0 then
    redis.call('ZREM', wip, unpack(dropped))
  end
  put_back(queue, ids, taken)
  if taken > 0 and not looked_at[q].is_leased then -- it may wait for a lock now
    leased[#leased + 1] = names[q]
    looked_at[q].is_leased = true
  end
  popped = popped + taken
  return taken, taken == #ids and #ids < most
end

local tenants -- what is done with tenants, made for the first queue that has any
local function make_tenants()
  -- USES   has_type, queue_names, tenants

  local LEAST_WEIGHT, MOST_WEIGHT = 0.01, 100 -- how many turns of others one of a tenant counts for
  local weighs = redis.call('EXISTS', weights_key()) == 1 -- whether any tenant has a weight of its own

  -- How many jobs the tenants that are no newcomers have had for their weights, at least.
  local function had_by_old(turns)
    return tonumber(redis.call('ZRANGEBYSCORE', turns, 0, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]) or 0
  end

  -- One tenant's turn, in tenants.lua's order.
  local function take_turn(turns, q, tenant, had, queue, wip, most)
    if tenant ~= '' then
      queue, wip = of_tenant(queue, tenant), of_tenant(wip, tenant)
      if pauses and pauses.of['queue:' .. queue_name(queue)] then
        redis.call('ZREM', turns, tenant) -- it gets its turn again when it is resumed
        return
      end
      if not (has_type('list', queue) and has_type('zset', wip)) then
        redis.call('ZREM', turns, tenant) -- the reaper tells, and puts it back when it is mended
        return
      end
    end
    had = math.max(had, -MOST_IN_A_TURN) -- else somebody has written it, and it might stay the first for ever
    most = math.min(most, had < 0 and -had or MOST_IN_A_TURN)
    local weight = 1
    if weighs then
      local given = redis.pcall('HGET', weights_key(), queue_name(queue))
      given = type(given) == 'string' and tonumber(given) or 1 -- anybody may have written it
      weight = given >= LEAST_WEIGHT and given <= MOST_WEIGHT and given or 1
    end
    local count, empty = take_from(q, tenant, queue, wip, most)
    if refusal then
      return
    elseif had >= 0 and count == 0 then
      redis.call('ZREM', turns, tenant)
    elseif had < 0 and (empty or count == -had) then
      redis.call('ZADD', turns, had_by_old(turns) + (MOST_IN_A_TURN + had + count) / weight, tenant)
    else
      redis.call('ZADD', turns, had + count / weight, tenant)
    end
  end

  return { had_by_old = had_by_old, take_turn = take_turn }
end

-- Whether a key of a queue holds something; one of the wrong type is told.
local function see(of, key, kind)
  local found = redis.call('TYPE', key).ok
  if found ~= kind and found ~= 'none' then
    broken[#broken + 1] = key
    of.done = true
  end
  return found == kind
end

-- The keys of a queue that a claim needs, whether it has no more to give, and whether tenants have
-- something to give. What its own keys hold, those commands tell that are to take from them.
local function look_at(q, no_turns)
  local name = names[q]
  local found = { queue = queue_key(name), wip = wip_key(name), turns = not no_turns and turns_key(name), done = false }
  if pauses and pauses.of['queue:' .. name] then
    found.done = true
  elseif not no_turns and see(found, found.turns, 'zset') then
    tenants = tenants or make_tenants()
    found.in_turns = true
    local has_jobs = see(found, found.queue, 'list')
    see(found, found.wip, 'zset')
    -- Whoever puts jobs of no tenant on the queue need not know that it has any.
    if has_jobs and not found.done then
      redis.call('ZADD', found.turns, 'NX', tenants.had_by_old(found.turns), '')
    end
  elseif args.careful and not found.done then
    see(found, found.wip, 'zset')
  end
  return found
end

local function take_once(q, of, most)
  local first = of.in_turns and redis.call('ZRANGE', of.turns, 0, 0, 'WITHSCORES') or {}
  if first[1] then
    tenants.take_turn(of.turns, q, first[1], tonumber(first[2]), of.queue, of.wip, most)
  else
    local _, empty = take_from(q, '', of.queue, of.wip, most)
    of.done = empty
  end
end

local function take(q, of, most)
  while most > 0 and not of.done and not refusal and bytes < args.most_bytes do
    local left = popped - parked
    take_once(q, of, most)
    most = most - (popped - parked - left)
    if parked >= args.most_parked then
      return
    end
  end
end

local function left()
  return args.count - popped + parked
end

local function take_from_queue(q, most, no_turns)
  looked_at[q] = looked_at[q] or look_at(q, no_turns)
  take(q, looked_at[q], math.min(most, left()))
end

-- How many of some queues have jobs of no tenant.
local function count_lists(first, last)
  local keys = {}
  for q = first, last do
    keys[q - first + 1] = queue_key(names[q])
  end
  return redis.call('EXISTS', unpack(keys))
end

local function have_no_turns(first, last)
  local keys = {}
  for q = first, last do
    keys[q - first + 1] = turns_key(names[q])
  end
  return redis.call('EXISTS', unpack(keys)) == 0
end

-- Takes what is left of count, in the order of the queues. Most of many queues have nothing: these are
-- asked after together, and those that are not come to not at all.
local function take_in_order(first, last, at_a_time, no_turns)
  for from = first, last, at_a_time do
    if left() <= 0 or refusal or bytes >= args.most_bytes then
      first_left = first_left or from
      return
    end
    local to = math.min(from + at_a_time - 1, last)
    if from == to then
      take_from_queue(from, left(), no_turns)
      first_left = first_left or not looked_at[from].done and from or nil
    else
      local lists, none = count_lists(from, to), no_turns or have_no_turns(from, to)
      if lists > 0 or not none then
        local are_few = lists * FEWER < to - from
        take_in_order(from, to, are_few and math.max(1, math.floor(at_a_time / FEWER)) or 1, none)
      end
    end
  end
end

for q, share in ipairs(args.shares) do
  if share > 0 then
    take_from_queue(q, share)
  end
end
take_in_order(1, #names, math.min(#names, LOOKED_AT))
if popped == 0 and refusal then
  return refusal
end
return reply(false)
