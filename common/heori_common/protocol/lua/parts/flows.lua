-- flows.lua: jobs that wait for others by Heori's rules. RQ's tools see them as they see its own: each is
-- among the dependents of those for which it waits, has these in its set of dependencies, and is deferred.
-- Here the set shrinks as they end, so that it tells at once whether all have, whatever their number. How
-- they have ended is kept beside it: 'r' and an id has what that one has returned, 'f' and an id how one has
-- ended that has not ended well, 'o' and a number says who stands at that place.
-- When all have ended, the job is queued. If one has not ended well, it is cancelled, and so is what waits for
-- it in turn. Once that one has ended well after all, it goes on from there.
-- A job that handles failures waits for all jobs of its part of a flow, and it is the other way round: it is
-- queued if one of them has not ended well. Those do not count that were cancelled after another: that one does.
-- USES   now_s, rq_time, read_fields, to_integer, ended

local KEPT_S = 31536000 -- as RQ keeps what has failed, unless it is said

local UNUSED_S = 500 -- as it keeps results: a job that was to handle failures, and there were none

-- For which a producer may take to send a flow, and a job is kept that was cancelled as it took longer.
local HALF_SENT_S, HALF_SENT_KEPT_S = 600, 86400

local A_FEW = 4

local GETS_RESULTS = { one = true, all = true }
local HANDLES_FAILURES = { failed = true, failures = true } -- and gets nothing, or the failures

local ENDED = { finished = true, failed = true, stopped = true, canceled = true, gone = true }

local function status_of(id)
  return redis.call('HGET', job_key(id), 'status') or 'gone'
end

-- What a job has returned, for those that wait for it, or nil.
local function returned_by(id)
  local latest = redis.call('XREVRANGE', results_key(id), '+', '-', 'COUNT', 1)[1]
  if not latest then
    return nil
  end
  local found = {}
  for n = 1, #latest[2], 2 do
    found[latest[2][n]] = latest[2][n + 1]
  end
  return cmsgpack.pack({ found.return_value or false, found.heori_types or false })
end

-- What is told of a job that was cancelled as another has not ended well.
local function reason_of(other, status)
  local its = status == 'canceled' and redis.call('HGET', job_key(other), 'heori_reason')
  if its and string.find(its, '^after ') then
    return its
  end
  local how = { gone = 'is gone', stopped = 'was stopped', canceled = 'was cancelled', failed = 'has failed' }
  return 'after ' .. other .. ', which ' .. how[status]
end

-- Whether a reason names another job than this one as the first that has not ended well. One of which nothing
-- is left cannot be told of itself.
local function is_of_another(reason, id)
  return string.find(reason, 'after ' .. id .. ', which ', 1, true) ~= 1 and not string.find(reason, 'which is gone$')
end

-- Notes how one has ended for which a job waits.
--   flow: of the job; ttl_s: for which the other is kept
local function note_end(id, flow, other, status, ttl_s)
  local inputs = inputs_key(id)
  if status == 'gone' and not GETS_RESULTS[flow] then
    status = 'finished' -- a job of which nothing is left keeps nobody
  end
  local value = ''
  if status == 'finished' and GETS_RESULTS[flow] then
    value = returned_by(other)
    status = value and status or 'gone'
  end
  if status ~= 'finished' then
    local reason = reason_of(other, status)
    if HANDLES_FAILURES[flow] and is_of_another(reason, other) then
      redis.call('HSETNX', inputs, 'reason', reason)
      redis.call('HSETNX', inputs, 'kept', ttl_s)
    elseif redis.call('HSETNX', inputs, 'f' .. other, status) == 1 then
      redis.call('HINCRBY', inputs, 'failed', 1)
      redis.call('HSETNX', inputs, 'reason', reason)
      redis.call('HSETNX', inputs, 'kept', ttl_s)
    end
  else
    if GETS_RESULTS[flow] then
      redis.call('HSET', inputs, 'r' .. other, value)
    end
    if redis.call('HDEL', inputs, 'f' .. other) == 1 then
      redis.call('HINCRBY', inputs, 'failed', -1)
    end
  end
  if redis.call('TTL', inputs) < 0 then -- else it may have been cancelled, and is kept for less
    redis.call('EXPIRE', inputs, KEPT_S)
  end
  redis.call('SREM', dependencies_key(id), other)
end

-- Whether a job waits for any that has not ended. Those are noted that have ended and of which nobody has
-- told: a stock worker has run them. Each is looked at once, and a few at a time.
local function has_open(id, flow)
  local dependencies = dependencies_key(id)
  while true do
    local some = redis.call('SRANDMEMBER', dependencies, A_FEW)
    if #some == 0 then
      return false
    end
    for _, other in ipairs(some) do
      -- It waits for itself as long as not all are sent.
      local status = other ~= id and status_of(other)
      if not ENDED[status] then
        return true
      end
      local left_s = redis.call('TTL', job_key(other))
      note_end(id, flow, other, status, left_s < 0 and KEPT_S or left_s)
    end
  end
end

-- Whether a job is to be queued, now that all have ended for which it waits. Of one that is not, it notes why.
local function is_wanted(id, flow)
  local inputs = inputs_key(id)
  local any_failed = to_integer(redis.call('HGET', inputs, 'failed'), 0) > 0
  if not HANDLES_FAILURES[flow] then
    return not any_failed
  elseif not any_failed and redis.call('HSETNX', inputs, 'reason', 'nothing before it has failed') == 1 then
    redis.call('HSET', inputs, 'kept', UNUSED_S)
  end
  return any_failed
end

-- Cancels a job that is not wanted. It is kept as long as the one that has not ended well.
local function cancel_rest(id, origin)
  local found = read_fields(inputs_key(id), 'reason', 'kept')
  local ttl_s = to_integer(found.kept, KEPT_S)
  redis.call('HSET', job_key(id), 'status', 'canceled', 'ended_at', now_iso, 'heori_reason', found.reason or '')
  redis.call('HSET', inputs_key(id), 'rest', '')
  redis.call('ZREM', deferred_key(origin), id)
  redis.call('ZADD', canceled_key(origin), ttl_s < 0 and '+inf' or math.floor(now_s) + ttl_s, id)
  if ttl_s >= 0 then
    for _, key in ipairs({ job_key(id), inputs_key(id), dependents_key(id) }) do
      redis.call('EXPIRE', key, math.max(1, ttl_s))
    end
  end
  return mark_ended(id, 'canceled', ttl_s)
end

-- Cancels a job of a flow that was not sent whole, as its producer has died, say. Should it send the rest
-- after all, that goes on as after a replay.
local function cancel_half_sent(id, origin)
  local inputs = inputs_key(id)
  local sent_s = to_integer(redis.call('HGET', inputs, 'sent'), now_s)
  if now_s - sent_s < HALF_SENT_S or redis.call('SISMEMBER', dependencies_key(id), id) == 0 then
    return
  end
  redis.call('HSET', inputs, 'reason', 'its producer has not sent all of its flow')
  redis.call('HSET', inputs, 'kept', HALF_SENT_KEPT_S)
  redis.call('EXPIRE', dependencies_key(id), HALF_SENT_KEPT_S)
  cancel_rest(id, origin)
end

-- Whether a job may be queued now that one for which it waits has ended; and whether others wait for its
-- own end, as it was cancelled.
--   found: its fields status and origin; parent, status, ttl_s: of the one that has ended; parent is
--   '' where nobody knows of any
local function may_begin(id, flow, found, parent, status, ttl_s)
  local inputs = inputs_key(id)
  local known = read_fields(inputs, 'rest', 'begun')
  local is_rest = found.status == 'canceled' and known.rest
  if known.begun or not (is_rest or found.status == 'deferred' or found.status == 'ready_to_enqueue') then
    return false, false
  end
  if parent ~= '' then
    note_end(id, flow, parent, status, ttl_s)
  end
  if has_open(id, flow) then
    return false, false
  elseif not is_wanted(id, flow) then
    return false, not is_rest and cancel_rest(id, found.origin) and true or false
  end
  return true, false
end

-- Notes that a job was queued: it is not queued a second time, whatever ends again.
local function note_begun(id, found)
  local inputs = inputs_key(id)
  redis.call('HSET', inputs, 'begun', '')
  redis.call('HDEL', inputs, 'rest', 'reason', 'kept')
  redis.call('EXPIRE', inputs, KEPT_S)
  if found.status == 'canceled' then
    redis.call('ZREM', canceled_key(found.origin), id)
    redis.call('HDEL', job_key(id), 'heori_reason')
    redis.call('HSET', job_key(id), 'ended_at', '')
    redis.call('PERSIST', job_key(id))
    redis.call('PERSIST', dependents_key(id))
  end
end
