-- claim.lua: pop up to `count` jobs, lease each to one consumer, return what a worker needs.
-- An id whose job was cancelled, has ended or is gone is dropped. A job that cannot run as it
-- stands (no data, too large, a broken key) is leased like the others and returned with its
-- problem named, so that the consumer fails it where RQ's tools show it.
-- A queue whose key holds no list is passed over, and told of when no other has a job.
-- KEYS   for each queue: queue (list), wip (zset)
-- ARGS   count, lease_end_offset, consumer, token, max_payload, job_stem, fields
--        lease_end_offset: seconds from now to the score in wip (the lease and RQ's margin)
--        fields: [name, …], what to read; the first seven are data, status, heori_deliveries,
--        heori_execution, timeout, result_ttl, failure_ttl
-- REPLY  msgpack [now, [[queue number from 0, id, execution, deliveries, problem or false, timeout
--        or false, result_ttl or false, failure_ttl or false, values], …]], or nil when the queues
--        were empty; values: msgpack [value or false, …] in the order of fields, for the worker
-- USES   whole, clock

local RUNS = { queued = true, created = true, deferred = true, scheduled = true, [''] = true,
  ready_to_enqueue = true, rate_limited = true, started = true }
local ENDED = { finished = true, failed = true, stopped = true, canceled = true }

local claims, claimed = {}, {}
local popped, broken = 0, false
for q = 1, #KEYS / 2 do
  local queue, wip = KEYS[2 * q - 1], KEYS[2 * q]
  local ids = popped < args.count and redis.pcall('LPOP', queue, args.count - popped)
  if ids and ids.err then
    broken = ids
  elseif ids then
    popped = popped + #ids
    local lease_end = math.ceil(now + args.lease_end_offset)
    local leases = {}
    for _, id in ipairs(ids) do
      local job = args.job_stem .. id
      local values = redis.pcall('HMGET', job, unpack(args.fields))
      local problem = false
      if values.err then
        problem, values = 'its key ' .. job .. ' does not hold a hash', {}
      end
      local data, status = values[1], values[2] or ''
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
      if claimed[id] or
        status == 'started' and values[4] and redis.call('ZSCORE', wip, id .. ':' .. values[4]) then
        skip = true
      end
      if not skip then
        claimed[id] = true
        local execution = args.token .. string.format('%04x', #claims)
        local deliveries = whole(values[3], 0) + 1
        leases[#leases + 1] = lease_end
        leases[#leases + 1] = id .. ':' .. execution
        if not values.err and #values > 0 then
          redis.call('HSET', job, 'status', 'started', 'started_at', today, 'last_heartbeat', today,
            'worker_name', args.consumer, 'heori_deliveries', deliveries, 'heori_execution', execution)
          -- It may expire while it waits, and not while it runs: by its ttl, or, when it was
          -- requeued or its id is used again, by the end of its last run, which no field tells.
          redis.call('PERSIST', job)
        end
        local raw = problem and '' or cmsgpack.pack(values)
        claims[#claims + 1] = { q - 1, id, execution, deliveries, problem,
          values[5] or false, values[6] or false, values[7] or false, raw }
      end
    end
    if #leases > 0 then
      redis.call('ZADD', wip, unpack(leases))
    end
  end
end
if popped == 0 then
  return broken
end
return cmsgpack.pack({ now, claims })
