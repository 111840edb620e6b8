-- replay.lua: put dead letters back at the end of their queue, as if they had never run.
-- Moves only what still stands in the registry, so any number may replay the same at once. The
-- results of former runs stay, as with RQ's own requeue.
-- KEYS   queues (set), queue (list), failed (zset)
-- ARGS   ids, queue, forget, dry_run
--        queue: its name; forget: [field, …], what tells of former deliveries
--        dry_run: change nothing, only tell
-- REPLY  msgpack ['replayed' or what dead_letter_state.lua says, …] in the order of ids
-- FULL   passes
-- USES   rq_time, to_integer, read_fields, arrivals, dead_letter_state, rate_limit

-- How many retries a job began with is kept nowhere: RQ counts retries_left down, and its
-- number_of_retries counts those that a job itself has asked for. The intervals tell, when there
-- is one for each.
local function retries(left, intervals)
  local ok, list = pcall(cjson.decode, intervals or '')
  return math.max(to_integer(left, 0), ok and type(list) == 'table' and #list or 0)
end

local queues, queue, failed = unpack(KEYS)
redis.call('LLEN', queue) -- a key that holds no list is told of before anything is written
if not args.dry_run then
  redis.call('SADD', queues, queue)
end
local fates, ids = {}, {}
for n, id in ipairs(args.ids) do
  local job = job_key(id)
  local fate = dead_letter_state(failed, id, job)
  if fate == 'dead' then
    fate = 'replayed'
    if not args.dry_run then
      local found = read_fields(job, 'rate_limit_key', 'rate_limit_concurrency', 'retries_left', 'retry_intervals',
        'ttl')
      redis.call('HSET', job, 'status', 'queued', 'origin', args.queue, 'enqueued_at', now_iso,
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
      local ok, waits = pcall(wait_for_slot, id, found, false) -- pcall: its limit's keys may hold anything
      if ok and waits then
        redis.call('ZREM', failed, id)
      else
        ids[#ids + 1] = id
      end
    end
  end
  fates[n] = fate
end
if #ids > 0 then
  redis.call('ZREM', failed, unpack(ids))
  redis.call('RPUSH', queue, unpack(ids))
  jobs_arrived(queue, #ids)
end
return cmsgpack.pack(fates)
