-- ack.lua: acknowledge a batch of ended executions; each entry refuses a lost lease. An entry that was
-- accepted before, in a call whose reply was lost, changes nothing and is no refusal.
-- KEYS   for each queue: wip (zset), finished (zset), failed (zset), queue (list), scheduled
--        (zset); last: the consumer's hash
-- ARGS   entries, result_ttl_s, failure_ttl_s
--        entries: [[queue number from 0, id, execution, 'finished', 'failed', 'stopped', 'retry'
--        or 'unknown here', started_s, run_s, ttl_s or false, body or false,
--        [delay_s, retries left] or false, [lock, …] or false, error or false,
--        types or false], …]
-- REPLY  msgpack [[refused entry number from 0, …], [entry number whose job has dependents, …],
--        [key that holds something else, …], [pause_s of a job that was unknown here and is put off,
--        …], [entry number whose job was unknown here and has failed, …]]
-- USES   to_integer, read_fields, end_job

local refused, with_dependents, broken, pauses, given_up = {}, {}, {}, {}, {}
local count = { finished = 0, failed = 0 }
local busy_s = 0
local registered = {} -- registry to [score, id, …]: one ZADD for all

-- Ends a lease; false when it was lost. Where the registry holds something else, the job's own
-- hash tells whose it is: what was done there must not be lost for it.
local function take(wip, id, execution)
  local removed = redis.pcall('ZREM', wip, id .. ':' .. execution)
  if type(removed) == 'table' then
    broken[wip] = true
    return redis.pcall('HGET', job_key(id), 'heori_execution') == execution
  end
  return removed == 1
end

-- Whether an execution without a lease has ended by this very acknowledgement. Whoever takes a lease
-- away takes the execution out of the job's hash, and a new claim writes its own there.
local function is_done(id, execution, end_status, ttl_s)
  local ended = read_fields(job_key(id), 'status', 'heori_execution', 'heori_settled')
  local is_deleted = not ended.status and ttl_s == 0
  return is_deleted or ended.heori_settled == execution
    or ended.heori_execution == execution and ended.status == end_status
end

local special -- what is done with jobs that do not just end, made for the first of them
local function make_special()
  -- USES   job_locks, retry, put_off
  return { put_off = put_off, release_job_locks = release_job_locks, retry_job = retry_job }
end

-- Whether a job that is unknown here waits for another consumer.
local function is_put_off(n, queue, scheduled, id, execution, why)
  local pause_s, unable = special.put_off(queue, scheduled, id, execution, why)
  if unable then
    broken[unable] = true
  end
  if pause_s then
    pauses[#pauses + 1] = pause_s
  else
    given_up[#given_up + 1] = n - 1
  end
  return pause_s
end

for n, entry in ipairs(args.entries) do
  local q, id, execution, status, started_s, run_s, ttl_s, body, retry, locks, raised, types =
    unpack(entry)
  local wip, finished, failed, queue, scheduled = unpack(KEYS, 5 * q + 1, 5 * q + 5)
  local end_status = status == 'unknown here' and 'failed' or status
  local is_finished = end_status == 'finished'
  ttl_s = to_integer(ttl_s, is_finished and args.result_ttl_s or args.failure_ttl_s)
  local holds = take(wip, id, execution)
  if locks or retry or status == 'unknown here' then
    special = special or make_special()
  end
  if not holds then
    if not is_done(id, execution, end_status, ttl_s) then
      refused[#refused + 1] = n - 1
    elseif redis.call('EXISTS', dependents_key(id)) == 1 then
      with_dependents[#with_dependents + 1] = n - 1
    end
  elseif retry then
    local unable = special.retry_job(queue, scheduled, id, execution, retry[1], retry[2])
    if unable then
      broken[unable] = true
    end
    count.failed = count.failed + 1
    busy_s = busy_s + run_s
  elseif status ~= 'unknown here' or not is_put_off(n, queue, scheduled, id, execution, body) then
    local registry = is_finished and finished or failed
    local fields = body and { is_finished and 'return_value' or 'exc_string', body } or {}
    if raised then
      fields[#fields + 1], fields[#fields + 2] = 'heori_error', raised
    end
    if types then
      fields[#fields + 1], fields[#fields + 2] = 'heori_types', types
    end
    local score, unable, is_waited_for = end_job(id, execution, end_status, ttl_s,
      string.format('%.6f', started_s), fields)
    if score then
      registered[registry] = registered[registry] or {}
      table.insert(registered[registry], score)
      table.insert(registered[registry], id)
    end
    if unable then
      broken[unable] = true
    end
    local outcome = is_finished and 'finished' or 'failed' -- what is stopped, rq counts as failed
    count[outcome] = count[outcome] + 1
    busy_s = busy_s + run_s
    if is_waited_for then
      with_dependents[#with_dependents + 1] = n - 1
    end
  end
  if holds and locks then
    special.release_job_locks(id, locks)
  end
end
for registry, scores in pairs(registered) do
  -- pcall: the jobs themselves are settled; a registry that holds something else lists them not
  if type(redis.pcall('ZADD', registry, unpack(scores))) == 'table' then
    broken[registry] = true
  end
end
-- pcall: likewise, and the consumer itself tells of its own hash
local me = KEYS[#KEYS]
if count.finished > 0 then
  redis.pcall('HINCRBY', me, 'successful_job_count', count.finished)
end
if count.failed > 0 then
  redis.pcall('HINCRBY', me, 'failed_job_count', count.failed)
end
if busy_s > 0 then
  redis.pcall('HINCRBYFLOAT', me, 'total_working_time', string.format('%.6f', busy_s))
end
local names = {}
for name in pairs(broken) do
  names[#names + 1] = name
end
return cmsgpack.pack({ refused, with_dependents, names, pauses, given_up })
