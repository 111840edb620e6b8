-- enqueue_due.lua: put the scheduled jobs that are due on their queues, as rq's scheduler does.
-- For each queue only the holder of its lock does so. It is RQ's lock, so that a stock scheduler
-- and ours never both move a job; like RQ's, a call takes a lock that is free and renews its own, where
-- anything is scheduled.
-- An id whose job has gone on by another way is dropped. One of which no job is left, or whose job
-- cannot run as it stands, is moved like the others: the claim tells of it. The jobs of all tenants
-- of a queue are scheduled with its own, and each is put where its origin says. A job with a rate limit
-- waits for a slot of it first.
-- Here, too, jobs go back to their queue that wait for a rate: see rates.lua. That needs no lock.
-- KEYS   queues (set), then for each queue: lock (string), scheduled (zset), queue (list)
-- ARGS   consumer, lock_ttl_ms, batch
--        batch: how many ids to take, at most
-- REPLY  msgpack [how many were moved, late_s of the latest of them, number of the queues whose
--        lock this consumer holds and that have jobs, [pause_s until there may be something to do in a
--        queue, or false when nothing is scheduled there or waits for a rate, …], [key that does not hold what it should, …]]
-- FULL   passes
-- USES   now_s, rq_time, now_text, to_integer, read_fields, queue_names, arrivals

local ELSEWHERE = { queued = true, started = true, deferred = true, ready_to_enqueue = true,
  rate_limited = true, finished = true, failed = true, stopped = true, canceled = true }

local BROKEN_S = 1 -- until a key is looked at again that does not hold what it should

local moved, late_s, held, broken = 0, 0, 0, {}

local function is_broken(key, reply)
  local wrong = type(reply) == 'table' and reply.err
  if wrong then
    broken[#broken + 1] = key
  end
  return wrong
end

-- Whether this consumer holds the lock; if not, for how long another may.
local function is_elected(lock)
  local holder = redis.pcall('GET', lock)
  if is_broken(lock, holder) then
    return false, BROKEN_S
  end
  if not holder then
    redis.call('SET', lock, args.consumer, 'PX', args.lock_ttl_ms)
    return true
  end
  local left_ms = redis.call('PTTL', lock)
  if holder ~= args.consumer then
    return false, left_ms >= 0 and left_ms / 1000 or BROKEN_S
  end
  if left_ms < args.lock_ttl_ms / 2 then -- not each time: it is written to the replicas and the disk
    redis.call('PEXPIRE', lock, args.lock_ttl_ms)
  end
  return true
end

-- Where a job of a queue, or of one of its tenants, goes.
local function place_of(queue, origin)
  local stem = of_tenant(queue_name(queue), '')
  if origin and #origin > #stem and string.sub(origin, 1, #stem) == stem then
    local place = queue_key(origin)
    return is_broken(place, redis.pcall('LLEN', place)) and queue or place
  end
  return queue
end

--   avoid: the consumers that do not know the task of one of these jobs
local function put(queue, front, back, avoid)
  if #back > 0 then
    redis.call('RPUSH', queue, unpack(back))
  end
  if #front > 0 then
    redis.call('LPUSH', queue, unpack(front))
  end
  redis.pcall('SADD', KEYS[1], queue) -- a queue that ran empty may have been deleted
  jobs_arrived(queue, #front + #back, avoid)
  moved = moved + #front + #back
end

local limits -- made for the first job that has one
local function make_limits()
  -- USES   rate_limit
  return { wait_for_slot = wait_for_slot }
end

local function move(ids, scheduled, queue)
  local places = { [queue] = { front = {}, back = {} } }
  for _, id in ipairs(ids) do
    local job = job_key(id)
    local found = read_fields(job, 'status', 'enqueue_at_front', 'enqueue_at_front_on_retry', 'ended_at', 'ttl',
      'origin', 'heori_unknown_to', 'rate_limit_key', 'rate_limit_concurrency')
    local goes_on = not ELSEWHERE[found.status or '']
    local retried = found.ended_at and found.ended_at ~= ''
    local first = found.enqueue_at_front == '1' or retried and found.enqueue_at_front_on_retry == '1'
    if goes_on and found.rate_limit_key and found.rate_limit_key ~= '' then
      limits = limits or make_limits()
      local ok, waits = pcall(limits.wait_for_slot, id, found, first) -- pcall: its keys may hold anything
      goes_on = not (ok and waits)
      moved = moved + (goes_on and 0 or 1)
    end
    if goes_on and found.status == 'scheduled' then
      redis.call('HSET', job, 'status', 'queued', 'enqueued_at', now_iso)
      local ttl_s = to_integer(found.ttl, 0) -- RQ counts it from here
      if ttl_s > 0 then
        redis.call('EXPIRE', job, ttl_s)
      end
    end
    if goes_on then
      local place = place_of(queue, found.origin)
      places[place] = places[place] or { front = {}, back = {} }
      table.insert(places[place][first and 'front' or 'back'], id)
      places[place].avoid = found.heori_unknown_to or places[place].avoid
    end
  end
  for place, sides in pairs(places) do
    put(place, sides.front, sides.back, sides.avoid)
  end
  redis.call('ZREM', scheduled, unpack(ids))
end

local let_jobs_begin -- made for the first queue in which any wait for a rate
local function make_let_jobs_begin()
  -- USES   rate_lines
  return let_all_begin
end

-- Returns pause_s, or false.
local function look_at_rates(queue)
  local rates = rates_key(queue_name(queue))
  local is_there = redis.pcall('ZCARD', rates)
  if is_there == 0 then
    return false
  elseif is_broken(rates, is_there) then
    return BROKEN_S
  end
  let_jobs_begin = let_jobs_begin or make_let_jobs_begin()
  local ok, begun, pause_s = pcall(let_jobs_begin, queue_name(queue)) -- pcall: a line may hold anything
  if not ok then
    return BROKEN_S
  end
  moved = moved + begun
  return pause_s
end

local queues = (#KEYS - 1) / 3
local room = args.batch

-- Returns pause_s, or false.
local function look_at_scheduled(q)
  local lock, scheduled, queue = unpack(KEYS, 3 * q - 1, 3 * q + 1)
  local earliest = redis.pcall('ZRANGE', scheduled, 0, 0, 'WITHSCORES')
  if is_broken(scheduled, earliest) then
    return BROKEN_S
  elseif not earliest[2] then
    return false
  end
  local mine, left_s = is_elected(lock)
  if not mine then
    return left_s
  end
  held = held + 1
  local overdue_s = now_s - tonumber(earliest[2])
  if overdue_s < 0 then
    return -overdue_s
  elseif is_broken(queue, redis.pcall('LLEN', queue)) then
    return BROKEN_S
  end
  -- No queue keeps another waiting: each may take its share of what room is left.
  local share = math.ceil(room / (queues - q + 1))
  local ids = redis.call('ZRANGEBYSCORE', scheduled, '-inf', now_text, 'LIMIT', 0, share)
  if #ids > 0 then
    move(ids, scheduled, queue)
  end
  room = room - #ids
  late_s = math.max(late_s, overdue_s)
  return 0
end

local pauses = {}
for q = 1, queues do
  local begin_s, due_s = look_at_rates(KEYS[3 * q + 1]), look_at_scheduled(q)
  pauses[q] = begin_s and due_s and math.min(begin_s, due_s) or begin_s or due_s
end
return cmsgpack.pack({ moved, late_s, held, pauses, broken })
