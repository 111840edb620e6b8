-- delete_job.lua: delete a job that does not run with all that is kept about it, as rq's Job.delete does. To
-- Heori's flows it counts as cancelled, if it had not ended.
-- KEYS   none declared: those of the job, and those that list it
-- ARGS   id, kept_s
--        kept_s: for which what waits for it is kept, once that is cancelled
-- REPLY  'done'; 'runs' when somebody works on it, 'taken' when a stock worker has just taken it; 'foreign' when its
--        key holds something else; '' if there is none
-- FULL   passes
-- USES   has_type, queue_names, read_fields, job_locks, lock_record, lock_handover, rate_limit, rates, ended, runs

local OPEN = { queued = true, created = true, scheduled = true, deferred = true, rate_limited = true,
  ready_to_enqueue = true }

-- Gives up its places in the lines of locks, and the lock that it was handed.
local function leave_locks(id, field)
  local request = request_of_job(id)
  local locks = declared_locks(field) or {}
  for _, want in ipairs(locks) do
    pcall(function() -- its keys may hold something else
      if remove_waiter(want[1], request, read_record(want[1], request)) then
        redis.call('HDEL', want[1], request)
      end
    end)
    release_job_locks(id, { want[1] })
  end
end

-- Takes it out of the line for its rate.
local function leave_rate(id, queue, field)
  local line, rate = line_of(queue, field)
  if line and redis.pcall('ZREM', line, id) == 1 then -- pcall: it may hold something else
    local back, first = look_at_line(line)
    if first then
      note_due(whole_name(queue_name(queue)), rate.name, next_us(rate, back))
    end
  end
end

local id, job = args.id, job_key(args.id)
if not has_type('hash', job) then
  return 'foreign'
elseif redis.call('EXISTS', job) == 0 then
  return ''
elseif runs(id) then
  return 'runs'
end
local found = read_fields(job, 'status', 'origin', 'rate_limit_key', 'heori_options', 'heori_locks', 'heori_paused',
  'group_id')
local name = found.origin or ''
local queue = queue_key(name)
if OPEN[found.status or 'created'] then
  -- pcall: here as below, any key may hold something else, which is no reason to keep the rest
  if redis.pcall('LREM', queue, 1, id) ~= 1 and type(redis.pcall('LPOS', intermediate_key(name), id)) == 'number' then
    return 'taken'
  end
  mark_ended(id, 'canceled', args.kept_s)
else
  redis.call('UNLINK', dependents_key(id))
end
for _, register in ipairs({ scheduled_key(whole_name(name)), deferred_key(name), parked_key(name), ready_key(name),
  finished_key(name), failed_key(name), canceled_key(name) }) do
  redis.pcall('ZREM', register, id)
end
if found.heori_paused then
  redis.pcall('ZREM', paused_jobs_key(found.heori_paused), id)
end
if found.heori_options then
  leave_rate(id, queue, found.heori_options)
end
local others = redis.pcall('SMEMBERS', dependencies_key(id))
for _, other in ipairs(others.err and {} or others) do
  redis.pcall('SREM', dependents_key(other), id)
end
if (found.group_id or '') ~= '' then
  redis.pcall('SREM', group_key(found.group_id), id)
end
redis.call('UNLINK', job, results_key(id), dependencies_key(id), inputs_key(id), executions_key(id))
if found.heori_locks then
  leave_locks(id, found.heori_locks)
end
if (found.rate_limit_key or '') ~= '' then
  free_slot(id, found.rate_limit_key)
end
return 'done'
