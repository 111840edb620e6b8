-- schedule.lua: put the scheduled jobs that are due on their queues, as rq's scheduler does.
-- For each queue only whoever holds its lock does so. It is RQ's lock, so that a stock scheduler
-- and ours never both move a job; like RQ's, a call takes a lock that is free and renews its own.
-- An id whose job is gone, or has gone on by another way, is dropped. A job that cannot run as it
-- stands is moved like the others: the claim names what is wrong with it.
-- KEYS   queues (set), then for each queue: lock (string), scheduled (zset), queue (list)
-- ARGS   consumer, lock_ttl, batch, job_stem
--        lock_ttl: milliseconds
--        batch: how many ids to take, at most
-- REPLY  msgpack [how many were moved, seconds by which the latest of them was late, number of
--        the queues whose lock this consumer holds, seconds until there may be something to do
--        or false, [key that does not hold what it should, …]]
-- USES   whole, time, clock

local ELSEWHERE = { queued = true, started = true, deferred = true, ready_to_enqueue = true,
  rate_limited = true, finished = true, failed = true, stopped = true, canceled = true }

local moved, late, held, pause, broken = 0, 0, 0, false, {}

local function look_again(seconds)
  pause = math.min(pause or seconds, seconds)
end

local function is_broken(key, reply)
  local wrong = type(reply) == 'table' and reply.err
  if wrong then
    broken[#broken + 1] = key
  end
  return wrong
end

local function hold(lock)
  local holder = redis.pcall('GET', lock)
  if is_broken(lock, holder) then
    return false
  end
  if not holder then
    redis.call('SET', lock, args.consumer, 'PX', args.lock_ttl)
    return true
  end
  local left = redis.call('PTTL', lock)
  if holder ~= args.consumer then
    if left >= 0 then
      look_again(left / 1000)
    end
    return false
  end
  if left < args.lock_ttl / 2 then -- not each time: it is written to the replicas and the disk
    redis.call('PEXPIRE', lock, args.lock_ttl)
  end
  return true
end

local function move(ids, scheduled, queue)
  local front, back = {}, {}
  for _, id in ipairs(ids) do
    local job = args.job_stem .. id
    local found = redis.pcall('HMGET', job, 'status', 'enqueue_at_front', 'enqueue_at_front_on_retry',
      'ended_at', 'ttl')
    local status, first, first_on_retry, ended, ttl = unpack(found, 1, 5)
    if status == 'scheduled' then
      redis.call('HSET', job, 'status', 'queued', 'enqueued_at', today)
      ttl = whole(ttl, 0) -- RQ counts it from here
      if ttl > 0 then
        redis.call('EXPIRE', job, ttl)
      end
    end
    if not ELSEWHERE[status or ''] and (status or redis.call('EXISTS', job) == 1) then
      local retried = ended and ended ~= ''
      local side = (first == '1' or retried and first_on_retry == '1') and front or back
      side[#side + 1] = id
    end
  end
  if #back > 0 then
    redis.call('RPUSH', queue, unpack(back))
  end
  if #front > 0 then
    redis.call('LPUSH', queue, unpack(front))
  end
  redis.call('ZREM', scheduled, unpack(ids))
  redis.pcall('SADD', KEYS[1], queue) -- a queue that ran empty may have been deleted
  moved = moved + #front + #back
end

local queues = (#KEYS - 1) / 3
local room = args.batch
for q = 1, queues do
  local lock, scheduled, queue = unpack(KEYS, 3 * q - 1, 3 * q + 1)
  if hold(lock) then
    held = held + 1
    local earliest = redis.pcall('ZRANGE', scheduled, 0, 0, 'WITHSCORES')
    if not is_broken(scheduled, earliest) and earliest[2] then
      local overdue = now - tonumber(earliest[2])
      if overdue < 0 then
        look_again(-overdue)
      elseif not is_broken(queue, redis.pcall('LLEN', queue)) then
        -- No queue keeps another waiting: each may take its share of what room is left.
        local share = math.ceil(room / (queues - q + 1))
        local ids = redis.call('ZRANGEBYSCORE', scheduled, '-inf', epoch, 'LIMIT', 0, share)
        if #ids > 0 then
          move(ids, scheduled, queue)
        end
        room = room - #ids
        late = math.max(late, overdue)
        look_again(0)
      end
    end
  end
end
return cmsgpack.pack({ moved, late, held, pause, broken })
