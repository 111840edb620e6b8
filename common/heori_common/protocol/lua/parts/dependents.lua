-- dependents.lua: queue the jobs that wait for one which has ended, by RQ's rules (rq 3.0.0, rq/job.py,
-- dependencies_are_met; rq/queue.py, move_dependents_to_ready). RQ does it in several steps, with a
-- status of its own between them; here it is one.
-- USES   rq_time, read_fields, to_integer, arrivals, rate_limit, read_ended, read_flow, flows

local arrived = {} -- queue to how many jobs were put on it: it is told of all together

-- Whether a job may run, as far as it waits for others. A job of which nothing is left keeps nobody.
--   status: how the one has ended that is settled now
local function is_met(id, parent, status, may_fail)
  if status == 'stopped' or status == 'canceled' or status == 'failed' and not may_fail then
    return false
  end
  local function is_any_open(others)
    for _, other in ipairs(others) do
      local its = other ~= parent and redis.call('HGET', job_key(other), 'status') or ''
      if not (its == '' or its == 'finished' or its == 'failed' and may_fail) then
        return true
      end
    end
    return false
  end
  local dependencies = dependencies_key(id)
  -- Of very many, most are open until near the end: a few are asked first.
  local some = redis.call('SRANDMEMBER', dependencies, A_FEW)
  return not is_any_open(some) and (#some < A_FEW or not is_any_open(redis.call('SMEMBERS', dependencies)))
end

local WAITS = { deferred = true, ready_to_enqueue = true }

-- Queues one of them, unless it waits for others yet or has gone another way.
-- Returns whether it was cancelled instead, and others wait for its end in turn.
local function start_dependent(id, parent, status, ttl_s)
  local job = job_key(id)
  local found = read_fields(job, 'status', 'origin', 'allow_dependency_failures', 'enqueue_at_front', 'ttl',
    'rate_limit_key', 'rate_limit_concurrency', 'heori_options')
  local origin = found.origin
  if not origin or redis.call('ZSCORE', parked_key(origin), id) then -- for a lock
    return false
  end
  local flow = found.heori_options and flow_of(found.heori_options)
  if flow then
    local begins, is_marked = may_begin(id, flow, found, parent, status, ttl_s)
    if not begins then
      return is_marked
    end
  elseif not WAITS[found.status or '']
    or not is_met(id, parent, status, found.allow_dependency_failures == '1') then
    return false
  end
  local queue = queue_key(origin)
  if not wait_for_slot(id, found, false) then
    redis.call(found.enqueue_at_front == '1' and 'LPUSH' or 'RPUSH', queue, id)
    redis.call('HSET', job, 'status', 'queued', 'enqueued_at', now_iso)
    arrived[queue] = (arrived[queue] or 0) + 1
  end
  redis.call('ZREM', deferred_key(origin), id)
  if flow then
    note_begun(id, found)
  end
  if found.status == 'ready_to_enqueue' then
    redis.call('ZREM', ready_key(origin), id)
  end
  redis.call('SREM', dependents_key(parent), id)
  local waits_s = to_integer(found.ttl, 0)
  if waits_s > 0 then
    redis.call('EXPIRE', job, waits_s)
    redis.call('EXPIRE', dependencies_key(id), waits_s)
  end
  return false
end

-- Queues those that wait for one job, about `most` of them. Returns from where to go on, or false when all
-- were looked at; then whether none is left to be tried again, how many were looked at, and whether others
-- wait for some of these in turn.
--   mark: as ended.lua leaves it; cursor: '0', or from where to go on, or false for all at once
local function settle(mark, cursor, most)
  local status, ttl_s, parent = read_ended(mark)
  if not parent then
    redis.call('ZREM', ended_key(), mark) -- nobody of ours has written that
    return false, true, 0
  end
  local dependents = dependents_key(parent)
  local is_whole, goes_further = true, false
  local next_cursor, ids = '0', nil
  if not cursor or cursor == '0' and redis.call('SCARD', dependents) <= most then
    ids = redis.call('SMEMBERS', dependents)
  else
    next_cursor, ids = unpack(redis.call('SSCAN', dependents, cursor, 'COUNT', most))
  end
  for _, id in ipairs(ids) do
    -- pcall: a key may hold something else; the others need not wait for it, and the mark stays
    local ok, is_marked = pcall(start_dependent, id, parent, status, ttl_s)
    is_whole = ok and is_whole
    goes_further = goes_further or ok and is_marked
  end
  if next_cursor ~= '0' then
    return next_cursor, false, #ids, goes_further
  end
  if is_whole then
    redis.call('ZREM', ended_key(), mark)
    if ttl_s == 0 then
      redis.call('DEL', dependents)
    elseif ttl_s > 0 then
      redis.call('EXPIRE', dependents, ttl_s)
    end
  end
  return false, is_whole, #ids, goes_further
end

-- Everything that settles calls this at last.
local function tell_arrivals()
  for queue, jobs in pairs(arrived) do
    redis.pcall('SADD', queues_key(), queue) -- pcall: it may hold something else
    jobs_arrived(queue, jobs)
  end
end
