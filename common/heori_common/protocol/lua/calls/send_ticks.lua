-- send_ticks.lua: send the jobs of ticks of periodic entries, each tick once.
-- Whoever calls says which tick was the last that it knows of. If another has been dealt with meanwhile,
-- nothing is sent: several consumers may take themselves for the leader, and any of them may
-- have lost a reply. The last tick stays in the entry, so a tick is refused also when its job has
-- expired long since.
-- KEYS   queues (set)
-- ARGS   entries
--        entries: [[name, last_ms, timing, may_overlap, queue, [field, value, …], [[id, tick_ms, meta], …],
--        missed, up_to_ms], …]
--        last_ms: false for a job that a person has asked for, which is no tick
--        meta: of the job, with the time of the tick
--        missed: how many ticks are left out; up_to_ms: the last tick that is dealt with thereby
-- REPLY  msgpack [[how many were sent, missed, skipped], or false for what was refused, …]
-- FULL   is refused
-- USES   now_s, rq_time, arrivals, read_fields

local ENDED = { finished = true, failed = true, stopped = true, canceled = true }

local now_ms = math.floor(now_s * 1000)

local function is_under_way(id)
  local status = id and redis.pcall('HGET', job_key(id), 'status')
  return type(status) == 'string' and not ENDED[status]
end

local function send(queue, origin, id, fields, meta)
  local key = job_key(id)
  if redis.call('EXISTS', key) == 1 then
    return false
  end
  -- As enqueue.lua writes a job.
  redis.call('HSET', key, 'status', 'queued', 'created_at', now_iso, 'origin', origin, 'enqueued_at', now_iso,
    unpack(fields))
  if meta then
    redis.call('HSET', key, 'meta', meta)
  end
  redis.call('SADD', KEYS[1], queue)
  redis.call('RPUSH', queue, id)
  jobs_arrived(queue, 1)
  return true
end

local function deal_with(name, last_ms, timing, may_overlap, origin, fields, ticks, missed, up_to_ms)
  local key, queue = entry_key(name), queue_key(origin)
  local found = read_fields(key, 'last', 'timing', 'removed', 'paused', 'job')
  local is_tick = last_ms ~= false
  if is_tick and (tonumber(found.last) ~= last_ms or found.timing ~= timing or found.removed) then
    return false
  end
  redis.call('LLEN', queue) -- one that holds something else is told of before anything is written
  local sent, skipped, job, reached = 0, 0, found.job, last_ms
  for _, tick in ipairs(ticks) do
    local id, tick_ms, meta = unpack(tick)
    if is_tick and tick_ms > now_ms then
      missed, up_to_ms = 0, reached
      break
    end
    reached = tick_ms
    if is_tick and found.paused or not may_overlap and is_under_way(job) then
      skipped = skipped + 1
    elseif send(queue, origin, id, fields, meta) then
      sent, job = sent + 1, id
    end
  end
  if is_tick then
    redis.call('HSET', key, 'last', string.format('%.0f', up_to_ms))
  end
  if sent > 0 then
    redis.call('HSET', key, 'job', job, 'sent_at', now_iso)
    redis.call('HDEL', key, 'outcome')
  end
  for field, count in pairs({ sent = sent, missed = missed, skipped = skipped }) do
    if count > 0 then
      redis.call('HINCRBY', key, field, count)
    end
  end
  return { sent, missed, skipped }
end

local replies = {}
for n, entry in ipairs(args.entries) do
  replies[n] = deal_with(unpack(entry))
end
return cmsgpack.pack(replies)
