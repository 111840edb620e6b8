-- run_anew.lua: have a job that has ended begin as if it had never run. The results of former runs stay,
-- as with RQ's own requeue.
-- ARGS   forget
--        forget: [field, …], what tells of former deliveries
-- USES   rq_time, to_integer, read_fields, rate_limit

-- How many retries a job began with is kept nowhere: RQ counts retries_left down, and its
-- number_of_retries counts those that a job itself has asked for. The intervals tell, when there
-- is one for each.
local function retries(left, intervals)
  local ok, list = pcall(cjson.decode, intervals or '')
  return math.max(to_integer(left, 0), ok and type(list) == 'table' and #list or 0)
end

-- Writes so into its hash; whether it waits for a slot of its limit, `waits_for_slot` tells.
--   origin: the name of its queue
local function begin_anew(id, origin)
  local job = job_key(id)
  local found = read_fields(job, 'retries_left', 'retry_intervals', 'ttl')
  redis.call('HSET', job, 'status', 'queued', 'origin', origin, 'enqueued_at', now_iso,
    'started_at', '', 'ended_at', '', 'worker_name', '')
  redis.call('HDEL', job, 'number_of_retries', unpack(args.forget))
  if found.retries_left then
    redis.call('HSET', job, 'retries_left', retries(found.retries_left, found.retry_intervals))
  end
  local ttl_s = to_integer(found.ttl, 0) -- how long it may wait in the queue
  if ttl_s > 0 then
    redis.call('EXPIRE', job, ttl_s)
  else
    redis.call('PERSIST', job)
  end
end

-- Whether it waits; if not, the caller puts it on its queue.
local function waits_for_slot(id)
  local found = read_fields(job_key(id), 'rate_limit_key', 'rate_limit_concurrency', 'ttl')
  local ok, waits = pcall(wait_for_slot, id, found, false) -- pcall: its limit's keys may hold anything
  return ok and waits
end
