-- claim.lua: pop up to `count` jobs, lease each to one consumer, return what a worker needs.
-- Fewer when they are large: once their payloads come to most_bytes, the rest stays where it is.
-- An id whose job was cancelled, has ended or is gone is dropped. A job that cannot run as it
-- stands (no data, too large, a broken key) is leased like the others and returned with its
-- problem named, so that the consumer fails it where RQ's tools show it.
-- A queue with a key of the wrong type is passed over, and the key told.
-- A job that declares locks is claimed when it has them all; else it waits for one of them, and
-- leaves its place in this claim to another. A job without locks pays nothing for it.
-- Where a queue has tenants, these and the jobs of no tenant take turns in the queue's place.
-- KEYS   suspended (string), then for each queue: queue (list), wip (zset), turns (zset)
-- ARGS   count, shares, lease_s, margin_s, consumer, token, max_payload, most_bytes, most_parked
--        shares: [how many to take from each queue at first, …]; what is left of count is then
--        taken in the order of the queues
--        lease_s: from now; margin_s: by which a score in wip lies after the lease's end
--        token: how the names of all executions of this call begin
--        most_parked: jobs that are left to wait for a lock in one call, about
-- REPLY  nil when the queues were empty, else msgpack [now_s, whether there were ids, whether RQ's
--        workers are suspended, [number of a key of the wrong type from 0, …], [ClaimReply, …]]
-- USES   now_s, rq_time, to_integer, has_type, queue_names, tenants, job_locks, take_job_locks

local RUNS = { queued = true, created = true, deferred = true, scheduled = true, [''] = true,
  ready_to_enqueue = true, rate_limited = true, started = true }
local ENDED = { finished = true, failed = true, stopped = true, canceled = true }

if redis.call('EXISTS', KEYS[1]) == 1 then
  return cmsgpack.pack({ now_s, false, true, {}, {} })
end

local claims, claimed = {}, {}
local popped, parked, broken, refusal = 0, 0, {}, false
local bytes = 0 -- of the payloads that were read
local done = {} -- the queues that have no more to give
local in_turns = {} -- those of which tenants have something to give
local score_s = math.ceil(now_s + args.lease_s + args.margin_s) -- of its lease in wip

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

-- Returns the name of the new execution, or false for an id that is dropped or waits for a lock.
local function claim(q, tenant, queue, wip, id)
  local job = job_key(id)
  local values = read_job_fields(job)
  local problem = false
  if values.err then
    problem, values = 'its key ' .. job .. ' does not hold a hash', {}
  end
  local data, status = values[DATA], values[STATUS] or ''
  bytes = bytes + #(data or '')
  local skip = ENDED[status] or false
  if not problem and not data then
    if redis.call('EXISTS', job) == 0 then
      skip = true -- deleted or expired while it waited
    else
      problem = 'its hash has no data field'
    end
  elseif data and #data > args.max_payload then
    problem = 'its payload of ' .. #data .. ' bytes is over the limit of ' .. args.max_payload
  elseif not problem and not skip and not RUNS[status] then
    problem = 'its status ' .. string.sub(status, 1, 40) .. ' is none that RQ knows'
  end
  -- The same id twice in the list: the other one is running under a live lease.
  if skip or claimed[id] or
    status == 'started' and values[HEORI_EXECUTION]
    and redis.call('ZSCORE', wip, id .. ':' .. values[HEORI_EXECUTION]) then
    return false
  end
  local locks, waited_s = false, 0
  if values[HEORI_LOCKS] and not problem then
    local held, more = take_declared_locks(id, job, queue, values[HEORI_LOCKS])
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
  local execution = args.token .. string.format('%04x', #claims)
  local deliveries = to_integer(values[HEORI_DELIVERIES], 0) + 1
  local suspicion = 0
  if values[HEORI_EXECUTION] then -- not asked of a job that was never claimed before, as most are
    suspicion = to_integer(redis.call('HGET', job, 'heori_suspicion'), 0)
  end
  if #values > 0 then
    redis.call('HSET', job, 'status', 'started', 'started_at', now_iso, 'last_heartbeat', now_iso,
      'worker_name', args.consumer, 'heori_deliveries', deliveries, 'heori_execution', execution)
    -- It may expire while it waits, and not while it runs: by its ttl, or, when it was
    -- requeued or its id is used again, by the end of its last run, which no field tells.
    redis.call('PERSIST', job)
  end
  local queue_number, job_id = q - 1, id
  local packed_fields = problem and '' or cmsgpack.pack(values)
  claims[#claims + 1] = claim_reply(queue_number, job_id, execution, deliveries, problem,
    values[TIMEOUT] or false, values[RESULT_TTL] or false, values[FAILURE_TTL] or false,
    packed_fields, locks, waited_s, tenant, suspicion)
  return execution
end

-- Returns how many ids were taken, and whether there are no more.
local function take_from(q, tenant, queue, wip, most)
  local ids = redis.pcall('LPOP', queue, most)
  if ids and ids.err then
    refusal = ids -- not raised: what was popped before must be told
    return 0, true
  end
  ids = ids or {}
  local leases, taken = {}, 0
  while taken < #ids and bytes < args.most_bytes do
    taken = taken + 1
    local id = ids[taken]
    local execution = claim(q, tenant, queue, wip, id)
    if execution then
      leases[#leases + 1] = score_s
      leases[#leases + 1] = id .. ':' .. execution
    end
  end
  if #leases > 0 then
    redis.call('ZADD', wip, unpack(leases))
  end
  local left = {} -- the first of them last, as each goes to the front
  for n = #ids, taken + 1, -1 do
    left[#left + 1] = ids[n]
  end
  if #left > 0 then
    redis.call('LPUSH', queue, unpack(left))
  end
  popped = popped + taken
  return taken, #left == 0 and #ids < most
end

-- How many jobs the tenants that are no newcomers have had, at least.
local function had_by_old(turns)
  return tonumber(redis.call('ZRANGEBYSCORE', turns, 0, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]) or 0
end

-- One tenant's turn, in tenants.lua's order.
local function take_turn(turns, q, tenant, had, queue, wip, most)
  if tenant ~= '' then
    queue, wip = of_tenant(queue, tenant), of_tenant(wip, tenant)
    if not (has_type('list', queue) and has_type('zset', wip)) then
      redis.call('ZREM', turns, tenant) -- the reaper tells, and puts it back when it is mended
      return
    end
  end
  most = math.min(most, had < 0 and -had or MOST_IN_A_TURN)
  local count, empty = take_from(q, tenant, queue, wip, most)
  if refusal then
    return
  elseif had >= 0 and count == 0 then
    redis.call('ZREM', turns, tenant)
  elseif had < 0 and (empty or count == -had) then
    redis.call('ZADD', turns, had_by_old(turns) + MOST_IN_A_TURN + had + count, tenant)
  else
    redis.call('ZADD', turns, had + count, tenant)
  end
end

local function take_once(q, most)
  local queue, wip, turns = unpack(KEYS, 3 * q - 1, 3 * q + 1)
  local first = in_turns[q] and redis.call('ZRANGE', turns, 0, 0, 'WITHSCORES') or {}
  if first[1] then
    take_turn(turns, q, first[1], tonumber(first[2]), queue, wip, most)
  else
    local _, empty = take_from(q, '', queue, wip, most)
    done[q] = empty
  end
end

local function take(q, most)
  while most > 0 and not done[q] and not refusal and bytes < args.most_bytes do
    local left = popped - parked
    take_once(q, most)
    most = most - (popped - parked - left)
    if parked >= args.most_parked then
      return
    end
  end
end

local queues = (#KEYS - 1) / 3
for q = 1, queues do
  for offset, kind in ipairs({ 'list', 'zset', 'zset' }) do
    local number = 3 * q + offset - 3
    if not has_type(kind, KEYS[number + 1]) then
      broken[#broken + 1] = number
      done[q] = true
    end
  end
  local queue, _, turns = unpack(KEYS, 3 * q - 1, 3 * q + 1)
  -- Whoever puts jobs of no tenant on the queue need not know that it has any.
  in_turns[q] = not done[q] and redis.call('EXISTS', turns) == 1
  if in_turns[q] and redis.call('EXISTS', queue) == 1 then
    redis.call('ZADD', turns, 'NX', had_by_old(turns), '')
  end
end
for q = 1, queues do
  take(q, math.min(args.shares[q] or 0, args.count - popped + parked))
end
for q = 1, queues do
  take(q, args.count - popped + parked)
end
if popped == 0 and (refusal or #broken == 0) then
  return refusal
end
return cmsgpack.pack({ now_s, popped > 0, false, broken, claims })
