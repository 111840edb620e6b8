-- ack.lua: acknowledge a batch of ended executions; each entry refuses a lost lease. An entry that was
-- accepted before, in a call whose reply was lost, changes nothing and is no refusal.
-- What waits for these jobs is queued here, up to a number; for the rest a mark is left, which
-- settle_dependents.lua goes by.
-- KEYS   for each queue: wip (zset), finished (zset), failed (zset), queue (list), scheduled
--        (zset); last: the consumer's hash
-- ARGS   entries, result_ttl_s, failure_ttl_s, keeps_failures
--        entries: [[queue number from 0, id, execution, 'finished', 'failed', 'stopped', 'retry',
--        'retried', 'settled' or 'unknown here', started_s, run_s, ttl_s or false, body or false,
--        [delay_s, retries left] or false, [lock, …] or false, error or false,
--        types or false, whether it is special, [max, [interval_s, …], at_front, failure] or false,
--        whether the execution is recorded, rate limit or false], …]
-- REPLY  msgpack [[refused entry number from 0, …], whether jobs are left that wait for these,
--        [key that holds something else, …], [pause_s of a job that was unknown here and is put off,
--        …], [entry number whose job was unknown here, or has returned a
--        Retry, and has failed, …]]
-- FULL   passes
-- USES   to_integer, read_fields, end_job, ended

local refused, broken, pauses, given_up = {}, {}, {}, {}
local room, are_left = 256, false -- for how many dependents, and whether any are left
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
  if removed == 1 then
    return true
  end
  -- rq's cancel takes a job that runs its lease, if its execution is recorded, and lets it run to its end.
  local found = read_fields(job_key(id), 'status', 'heori_execution')
  return found.status == 'canceled' and found.heori_execution == execution
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
  -- USES   job_locks, retry, put_off, returned_retry, repeats, rate_limit, dependents
  return { put_off = put_off, release_job_locks = release_job_locks, retry_job = retry_job,
    has_retried_enough = has_retried_enough, retry_returned = retry_returned, has_repeats = has_repeats,
    repeat_job = repeat_job, begin_new_try = begin_new_try, free_slot = free_slot, settle = settle,
    tell_arrivals = tell_arrivals }
end

local forget -- likewise, for the first execution that is recorded
local function make_forget()
  -- USES   executions
  return forget_execution
end

local come_back -- likewise, for the first lease that was lost
local function make_come_back()
  -- USES   vanished
  return has_come_back
end

local function is_unable(key)
  if key then
    broken[key] = true
  end
end

-- Whether a job that is unknown here waits for another consumer.
local function is_put_off(n, queue, scheduled, id, execution, why)
  local pause_s, unable = special.put_off(queue, scheduled, id, execution, why)
  is_unable(unable)
  if pause_s then
    pauses[#pauses + 1] = pause_s
  else
    given_up[#given_up + 1] = n - 1
  end
  return pause_s
end

local function register(registry, score, id)
  registered[registry] = registered[registry] or {}
  table.insert(registered[registry], score)
  table.insert(registered[registry], id)
end

-- Queues what waits for a job that has ended, as far as there is room.
local function settle_now(id, mark)
  special = special or make_special()
  local waiting = redis.pcall('SCARD', dependents_key(id))
  waiting = type(waiting) == 'number' and waiting or 0
  if waiting > room then
    are_left = true
  else
    -- pcall: what cannot be queued now waits by its mark
    local ok, _, is_whole, _, goes_further = pcall(special.settle, mark, false, waiting)
    are_left = are_left or not (ok and is_whole) or goes_further
  end
  room = math.max(0, room - waiting)
end

-- What the end of a job is written as, where its status does not say it.
local END = { ['unknown here'] = 'failed', retried = 'failed' }
local FINISHED, RETRIED_ENOUGH = '1', '5' -- of rq's Result.Type
local SPECIAL = { ['unknown here'] = true, retried = true, settled = true }

for n, entry in ipairs(args.entries) do
  local q, id, execution, status, started_s, run_s, ttl_s, body, retry, locks, raised, types, is_special,
    again, is_recorded, limit = unpack(entry)
  local wip, finished, failed, queue, scheduled = unpack(KEYS, 5 * q + 1, 5 * q + 5)
  local end_status = END[status] or status
  local is_finished = end_status == 'finished'
  ttl_s = to_integer(ttl_s, is_finished and args.result_ttl_s or args.failure_ttl_s)
  local holds = take(wip, id, execution)
  if holds and is_recorded then
    forget = forget or make_forget()
    forget(id, execution)
  end
  if locks or retry or is_special or SPECIAL[status] then
    special = special or make_special()
  end
  local outcome = is_finished and 'finished' or 'failed' -- what is stopped, or retried, rq counts as failed
  if status == 'settled' then
    outcome = nil -- whoever wrote its end has counted it
    if read_fields(job_key(id), 'heori_execution').heori_execution == execution then
      special.begin_new_try(job_key(id))
    end
  elseif not holds then
    outcome = nil
    if not is_done(id, execution, end_status, ttl_s) then
      refused[#refused + 1] = n - 1
      come_back = come_back or make_come_back()
      come_back(id, execution)
    end
  elseif status == 'unknown here' and is_put_off(n, queue, scheduled, id, execution, body) then
    outcome = nil
  elseif retry then
    is_unable(special.retry_job(queue, scheduled, id, execution, retry[1], retry[2]))
  else
    local started_text = string.format('%.6f', started_s)
    local fields = body and { (is_finished or again) and 'return_value' or 'exc_string', body } or {}
    if raised then
      fields[#fields + 1], fields[#fields + 2] = 'heori_error', raised
    end
    if types then
      fields[#fields + 1], fields[#fields + 2] = 'heori_types', types
    end
    if again and not special.has_retried_enough(id, again[1]) then
      is_unable(special.retry_returned(queue, scheduled, id, execution, again[2], again[3], ttl_s,
        started_text, fields))
    elseif is_special and is_finished and special.has_repeats(id) then
      if ttl_s ~= 0 then
        local score, unable = write_result(id, execution, FINISHED, ttl_s, started_text, fields)
        is_unable(unable)
        register(finished, score, id)
      end
      local mark = mark_ended(id, end_status, -1)
      is_unable(special.repeat_job(queue, scheduled, id, execution))
      if mark then
        settle_now(id, mark)
      end
    else
      local failure = again and again[4]
      local result_type
      if again and not failure then
        result_type = RETRIED_ENOUGH
      elseif not is_finished and not args.keeps_failures then
        result_type, ttl_s = false, -1
      end
      local score, unable, mark = end_job(id, execution, end_status, ttl_s, started_text,
        failure and { 'exc_string', failure } or fields, result_type)
      is_unable(unable)
      if again then
        given_up[#given_up + 1] = n - 1
      end
      if score then
        register(is_finished and finished or failed, score, id)
      end
      if is_special then
        forget_dependencies(id, ttl_s)
      end
      if mark then
        settle_now(id, mark)
      end
    end
  end
  if outcome then
    count[outcome] = count[outcome] + 1
    busy_s = busy_s + run_s
  end
  if holds and locks then
    special.release_job_locks(id, locks)
  end
  if holds and limit then
    special.free_slot(id, limit)
  end
end
if special then
  special.tell_arrivals()
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
return cmsgpack.pack({ refused, are_left, names, pauses, given_up })
