-- claim_job.lua: the claim of one job, for whoever is to run it.
-- USES   now_s, rq_time, to_integer

-- What a status says that is not queued: 'runs', 'ended', or nil for none that RQ knows.
local function fate_of(status)
  local fates = { created = 'runs', deferred = 'runs', scheduled = 'runs', [''] = 'runs',
    ready_to_enqueue = 'runs', rate_limited = 'runs', started = 'runs',
    finished = 'ended', failed = 'ended', stopped = 'ended', canceled = 'ended' }
  return fates[status]
end

-- Returns the fields of a job, and why it cannot run as it stands, or false. Or false, when there is
-- nothing to run any more, and whether nothing is left of it, either.
local function read_claimable(job, max_payload)
  local values = read_job_fields(job)
  if values.err then
    return {}, 'its key ' .. job .. ' does not hold a hash'
  end
  local data, status = values[DATA], values[STATUS] or ''
  local fate = status == 'queued' and 'runs' or fate_of(status) -- as most are, and tables take time
  if fate == 'ended' then
    return false, false
  elseif not data and redis.call('EXISTS', job) == 0 then
    return false, true -- evicted, deleted or expired while it waited
  elseif not data then
    return values, 'its hash has no data field'
  elseif #data > max_payload then
    return values, 'its payload of ' .. #data .. ' bytes is over the limit of ' .. max_payload
  elseif not fate then
    return values, 'its status ' .. string.sub(status, 1, 40) .. ' is none that RQ knows'
  end
  return values, false
end

local function says(value)
  return value and value ~= '' -- RQ writes '' for nothing
end

local MOST_REST_BYTES = 1000000 -- what is more, the worker reads by itself

-- What its hash says beside the data, for what few jobs ask of their worker. A field without a name says
-- that this is not all.
local function pack_rest(job)
  local rest, room, fields = {}, MOST_REST_BYTES, redis.call('HGETALL', job)
  for n = 1, #fields, 2 do
    local name, value = fields[n], fields[n + 1]
    local is_left_out = #name + #value > room
    if name ~= 'data' then
      rest[#rest + 1], rest[#rest + 2] = is_left_out and '' or name, is_left_out and '' or value
      room = is_left_out and room or room - #name - #value
    end
  end
  return cmsgpack.pack(rest)
end

-- Notes that a consumer has claimed it; returns what the consumer gets to know of it.
--   values, problem: from read_claimable; locks, waited_s: what it holds, or false
--   unwritten: [field, value, …] of a job that is new, and is not in its hash yet
local function note_claim(consumer, id, job, execution, values, problem, queue_number, tenant, locks, waited_s,
    unwritten)
  local deliveries, suspicion = 1, 0
  if values[HEORI_DELIVERIES] then
    deliveries = to_integer(values[HEORI_DELIVERIES], 0) + 1
  end
  if values[HEORI_EXECUTION] then -- not asked of a job that was never claimed before, as most are
    suspicion = to_integer(redis.call('HGET', job, 'heori_suspicion'), 0)
  end
  if unwritten then
    redis.call('HSET', job, 'status', 'started', 'started_at', now_iso, 'last_heartbeat', now_iso,
      'worker_name', consumer, 'heori_deliveries', 1, 'heori_execution', execution, unpack(unwritten))
  elseif #values > 0 then
    redis.call('HSET', job, 'status', 'started', 'started_at', now_iso, 'last_heartbeat', now_iso,
      'worker_name', consumer, 'heori_deliveries', deliveries, 'heori_execution', execution)
    -- It may expire while it waits, and not while it runs: by its ttl, or, when it was
    -- requeued or its id is used again, by the end of its last run, which no field tells. Only what
    -- Heori has sent has neither field, until it runs, is queued again or is saved by RQ.
    if values[STARTED_AT] or values[SUCCESS_CALLBACK_NAME] then
      redis.call('PERSIST', job)
    end
  end
  local job_id, timeout = id, values[TIMEOUT] or false
  local is_plain = are_plain(values)
  local packed_fields = problem and '' or cmsgpack.pack(is_plain and told_if_plain(values) or values)
  if tenant == '' and is_plain and not problem then
    return claim_reply(queue_number, job_id, execution, deliveries, timeout, packed_fields)
  end
  local special = (says(values[DEPENDENCY_IDS]) or says(values[REPEATS_LEFT]) or says(values[RATE_LIMIT_KEY])
    or values[HEORI_OPTIONS] and string.find(values[HEORI_OPTIONS], 'flow', 1, true)) and true or false
  local has_more = says(values[SUCCESS_CALLBACK_NAME]) or says(values[FAILURE_CALLBACK_NAME])
    or says(values[STOPPED_CALLBACK_NAME]) or says(values[WEBHOOKS])
  local rest = has_more and not problem and pack_rest(job) or ''
  return claim_reply(queue_number, job_id, execution, deliveries, timeout, packed_fields, problem,
    values[RESULT_TTL] or false, values[FAILURE_TTL] or false, locks, waited_s, tenant, suspicion, special,
    values[RATE_LIMIT_KEY] or false, rest)
end
