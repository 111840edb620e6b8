-- put_off.lua: have a job wait for a consumer whose code has what it needs.
-- Consumers of a queue may have different code, as in a rolling deploy. One that does not know the
-- task of a job puts it off, uncounted, and whoever comes by when it is due gets it. In the hash of
-- the job `heori_unknown` says why it waits, `heori_unknown_since` since when, and `heori_unknown_to`
-- who did not know it.
-- ARGS   consumer, unknown_wait_s
-- USES   now_s, read_fields, queue_names, run_again

-- Between two deliveries: a quarter as long as it has waited, within these.
local SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 1, 10
-- One that is always slower than the others may never get it: so many times as long is enough.
local LONGEST_WAIT = 10

-- Whether a consumer of the queue is there that is not among those names.
local function has_others(queue, names)
  local whole = whole_name(queue_name(queue))
  local members = redis.pcall('SMEMBERS', workers_of_key(whole))
  for _, worker in ipairs(members.err and {} or members) do
    local name = string.sub(worker, #worker_key('') + 1)
    if not string.find(names, '\n' .. name .. '\n', 1, true) and redis.call('EXISTS', worker) == 1 then
      return true
    end
  end
  return false
end

-- Returns for how long it waits, in seconds, or false when it has waited for long enough and all
-- consumers of its queue have had it, or for much longer. Then the key that holds something else and so could not take the job, or false.
--   why: an encoded failure
local function put_off(queue, scheduled, id, execution, why)
  local job = job_key(id)
  local found = read_fields(job, 'heori_unknown_since', 'heori_unknown_to', 'ttl',
    'enqueue_at_front_on_retry')
  local since_s = tonumber(found.heori_unknown_since) or now_s
  local names = found.heori_unknown_to or '\n'
  if not string.find(names, '\n' .. args.consumer .. '\n', 1, true) then
    names = names .. args.consumer .. '\n'
  end
  local waited_s = now_s - since_s
  local is_over = waited_s >= args.unknown_wait_s * LONGEST_WAIT
  if is_over or waited_s >= args.unknown_wait_s and not has_others(queue, names) then
    redis.pcall('HDEL', job, 'heori_unknown', 'heori_unknown_since', 'heori_unknown_to')
    return false, false
  end
  if redis.call('EXISTS', job) == 0 then
    return 0, false -- deleted meanwhile
  end
  redis.pcall('HSET', job, 'started_at', '', 'heori_unknown', why,
    'heori_unknown_since', string.format('%.6f', since_s), 'heori_unknown_to', names)
  redis.pcall('HINCRBY', job, 'heori_deliveries', -1)
  local pause_s = math.max(SHORTEST_PAUSE_S, math.min(waited_s / 4, LONGEST_PAUSE_S))
  return pause_s, run_again(queue, scheduled, id, execution, pause_s, found)
end
