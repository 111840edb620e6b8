-- ack.lua: acknowledge a batch of ended executions; each entry refuses a lost lease. An entry that was
-- accepted before, in a call whose reply was lost, changes nothing and is no refusal.
-- What waits for these jobs is queued here, up to a number; for the rest a mark is left, which
-- settle_dependents.lua goes by.
-- KEYS   the consumer's hash
-- ARGS   queues, entries, result_ttl_s, failure_ttl_s, keeps_failures
--        queues: [name, …]
--        entries: [queue number from 0, id, execution, 'finished', 'failed', 'stopped', 'retry',
--        'retried', 'settled' or 'unknown here', started_s, run_s, ttl_s or false, body or false, false or of
--        few jobs the rest: [error or false, types or false, [delay_s, retries left] or false, [lock, …] or
--        false, whether it is special, [max, [interval_s, …], at_front, failure] or false,
--        whether the execution is recorded, rate limit or false, CPU time and
--        time in which it waited for the GIL, both in seconds (texts) or false], and so on for each]
-- REPLY  msgpack [[refused entry number from 0, …], whether jobs are left that wait for these,
--        [key that holds something else, …], [pause_s of a job that was unknown here and is put off,
--        …], [entry number whose job was unknown here, or has returned a
--        Retry, and has failed, …]]
-- FULL   passes
-- USES   to_integer, read_fields, end_job, ended

local refused, broken, pauses, given_up = {}, {}, {}, {}
local room, are_left = 256, false -- for how many dependents, and whether any are left
local finished_count, failed_count, busy_s = 0, 0, 0
local registered = {} -- registry to [score, id, ...]: one ZADD for all

local function is_unable(key)
  if key then
    broken[key] = true
  end
end

local special -- what is done with jobs that do not just end, made for the first of them
local function make_special()
  -- USES   job_locks, retry, put_off, queue_names, returned_retry, repeats, rate_limit, dependents, forget_dependencies,
  -- USES   executions, vanished

  -- Whether a lease stood that is not in the registry. Where that holds something else, the job's own
  -- hash tells whose it is: what was done there must not be lost for it.
  local function has_held(found, wip, id, execution)
    if found then
      broken[wip] = true
      return redis.pcall('HGET', job_key(id), 'heori_execution') == execution
    end
    -- rq's cancel takes a job that runs its lease, if its execution is recorded, and lets it run to its end.
    local fields = read_fields(job_key(id), 'status', 'heori_execution')
    return fields.status == 'canceled' and fields.heori_execution == execution
  end

  -- Whether an execution without a lease has ended by this very acknowledgement. Whoever takes a lease
  -- away takes the execution out of the job's hash, and a new claim writes its own there.
  local function is_done(id, execution, end_status, ttl_s)
    local ended = read_fields(job_key(id), 'status', 'heori_execution', 'heori_settled')
    local is_deleted = not ended.status and ttl_s == 0
    return is_deleted or ended.heori_settled == execution
      or ended.heori_execution == execution and ended.status == end_status
  end

  local function scheduled_of(name)
    return scheduled_key(whole_name(name))
  end

  -- Whether a job that is unknown here waits for another consumer.
  local function is_put_off(n, queue, scheduled, id, execution, why)
    local pause_s, unable = put_off(queue, scheduled, id, execution, why)
    is_unable(unable)
    if pause_s then
      pauses[#pauses + 1] = pause_s
    else
      given_up[#given_up + 1] = n - 1
    end
    return pause_s
  end

  -- Queues what waits for a job that has ended, as far as there is room.
  local function settle_now(id, mark)
    local waiting = redis.pcall('SCARD', dependents_key(id))
    waiting = type(waiting) == 'number' and waiting or 0
    if waiting > room then
      are_left = true
    else
      -- pcall: what cannot be queued now waits by its mark
      local ok, _, is_whole, _, goes_further = pcall(settle, mark, false, waiting)
      are_left = are_left or not (ok and is_whole) or goes_further
    end
    room = math.max(0, room - waiting)
  end

  return { has_held = has_held, is_done = is_done, scheduled_of = scheduled_of, is_put_off = is_put_off, settle_now = settle_now,
    release_job_locks = release_job_locks, retry_job = retry_job, has_retried_enough = has_retried_enough,
    retry_returned = retry_returned, has_repeats = has_repeats, repeat_job = repeat_job,
    begin_new_try = begin_new_try, free_slot = free_slot, tell_arrivals = tell_arrivals,
    forget_dependencies = forget_dependencies, forget_execution = forget_execution,
    has_come_back = has_come_back }
end

local function register(registry, score, id)
  local scores = registered[registry]
  if not scores then
    scores = {}
    registered[registry] = scores
  end
  scores[#scores + 1], scores[#scores + 2] = score, id
end

local RETRIED_ENOUGH = '5' -- of rq's Result.Type
local WIDTH = 9 -- values of an entry

-- Of a whole batch it is asked in one command whose leases stand, and in one more whether anybody waits for
-- the end of any.
local entries = args.entries
local wips, finished = {}, {} -- the keys of each queue that nearly all jobs need, by its number
for n, name in ipairs(args.queues) do
  wips[n - 1], finished[n - 1] = wip_key(name), finished_key(name)
end
local count = #entries / WIDTH
local leases, leases_of, dependents = {}, {}, {}
for n = 1, count do
  local at = (n - 1) * WIDTH
  local q, id = entries[at + 1], entries[at + 2]
  local lease = id .. ':' .. entries[at + 3]
  local of_queue = leases_of[q]
  if not of_queue then
    of_queue = {}
    leases_of[q] = of_queue
  end
  leases[n], of_queue[#of_queue + 1], dependents[n] = lease, lease, dependents_key(id)
end
local none_wait = count > 0 and redis.call('EXISTS', unpack(dependents)) == 0
local stands = {} -- lease to whether it does; of one alone, its removal tells
if count > 1 then
  for q, of_queue in pairs(leases_of) do
    local scores = redis.pcall('ZMSCORE', wips[q], unpack(of_queue))
    for n, lease in ipairs(of_queue) do
      stands[lease] = scores.err and scores or scores[n]
    end
  end
end

local last_started_s, started_text
local result = { '', '' } -- the fields of most jobs
for n = 1, count do
  local at = (n - 1) * WIDTH
  local q, id, execution, status, started_s = entries[at + 1], entries[at + 2], entries[at + 3], entries[at + 4],
    entries[at + 5]
  local run_s, ttl_s, body, rest = entries[at + 6], entries[at + 7], entries[at + 8], entries[at + 9]
  local raised, types, retry, locks, is_special, again, is_recorded, limit, cpu, gil
  if rest then
    raised, types, retry, locks, is_special, again, is_recorded, limit, cpu, gil = unpack(rest)
  end
  local is_unknown, is_settled = status == 'unknown here', status == 'settled'
  local end_status = (is_unknown or status == 'retried') and 'failed' or status
  local is_finished = status == 'finished'
  ttl_s = to_integer(ttl_s, is_finished and args.result_ttl_s or args.failure_ttl_s)
  local wip = wips[q]
  local queue, scheduled -- where a job goes that is to run again
  local found = stands[leases[n]]
  if found and not found.err then
    stands[leases[n]] = false -- the same entry once more finds it ended
  end
  if count == 1 then
    found = redis.pcall('ZREM', wip, leases[n])
    found = found ~= 0 and found
  end
  local holds = found and type(found) ~= 'table'
  if not holds or retry or locks or is_special or again or is_recorded or limit or is_unknown or is_settled then
    special = special or make_special()
    queue, scheduled = queue_key(args.queues[q + 1]), special.scheduled_of(args.queues[q + 1])
    holds = holds or special.has_held(found, wip, id, execution)
    if holds and is_recorded then
      special.forget_execution(id, execution)
    end
  end
  local counts = true
  if is_settled then
    counts = false -- whoever wrote its end has counted it
    if read_fields(job_key(id), 'heori_execution').heori_execution == execution then
      special.begin_new_try(job_key(id))
    end
  elseif not holds then
    counts = false
    if not special.is_done(id, execution, end_status, ttl_s) then
      refused[#refused + 1] = n - 1
      special.has_come_back(id, execution)
    end
  elseif is_unknown and special.is_put_off(n, queue, scheduled, id, execution, body) then
    counts = false
  elseif retry then
    is_unable(special.retry_job(queue, scheduled, id, execution, retry[1], retry[2]))
  else
    if started_s ~= last_started_s then -- what was claimed together began together
      last_started_s, started_text = started_s, string.format('%.6f', started_s)
    end
    local fields = result
    if body and not rest then
      fields[1], fields[2] = is_finished and 'return_value' or 'exc_string', body
    else
      fields = body and { (is_finished or again) and 'return_value' or 'exc_string', body } or {}
      for name, value in pairs({ heori_error = raised, heori_types = types, heori_cpu = cpu, heori_gil = gil }) do
        if value then
          fields[#fields + 1], fields[#fields + 2] = name, value
        end
      end
    end
    if again and not special.has_retried_enough(id, again[1]) then
      is_unable(special.retry_returned(queue, scheduled, id, execution, again[2], again[3], ttl_s,
        started_text, fields))
    elseif is_special and is_finished and special.has_repeats(id) then
      if ttl_s ~= 0 then
        local score, unable = write_result(id, execution, FINISHED, ttl_s, started_text, fields)
        is_unable(unable)
        register(finished[q], score, id)
      end
      local mark = mark_ended(id, end_status, -1)
      is_unable(special.repeat_job(queue, scheduled, id, execution))
      if mark then
        special.settle_now(id, mark)
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
        failure and { 'exc_string', failure } or fields, result_type, none_wait)
      is_unable(unable)
      if again then
        given_up[#given_up + 1] = n - 1
      end
      if score then
        register(is_finished and finished[q] or failed_key(args.queues[q + 1]), score, id)
      end
      if is_special then
        special.forget_dependencies(id, ttl_s)
      end
      if mark then
        special = special or make_special()
        special.settle_now(id, mark)
      end
    end
  end
  if counts then
    if is_finished then
      finished_count = finished_count + 1
    else
      failed_count = failed_count + 1 -- what is stopped, or retried, rq counts so, too
    end
    busy_s = busy_s + run_s
  end
  if holds and locks then
    special.release_job_locks(id, locks)
  end
  if holds and limit then
    special.free_slot(id, limit)
  end
end
if count > 1 then
  for q, of_queue in pairs(leases_of) do
    redis.pcall('ZREM', wips[q], unpack(of_queue)) -- pcall: likewise
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
local me = KEYS[1]
if finished_count > 0 then
  redis.pcall('HINCRBY', me, 'successful_job_count', finished_count)
end
if failed_count > 0 then
  redis.pcall('HINCRBY', me, 'failed_job_count', failed_count)
end
if busy_s > 0 then
  redis.pcall('HINCRBYFLOAT', me, 'total_working_time', string.format('%.6f', busy_s))
end
local names = {}
for name in pairs(broken) do
  names[#names + 1] = name
end
return cmsgpack.pack({ refused, are_left, names, pauses, given_up })
