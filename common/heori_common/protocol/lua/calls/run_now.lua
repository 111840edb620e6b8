-- run_now.lua: put a scheduled job on its queue now, as enqueue_due.lua does when it is due.
-- KEYS   queues (set), queue (list), scheduled (zset)
-- ARGS   id
-- REPLY  'done', or 'missing' when it is not listed as scheduled; else the status of the job, '' if it is gone
-- FULL   passes
-- USES   rq_time, to_integer, read_fields, arrivals, rate_limit

local queues, queue, scheduled = unpack(KEYS)
local id, job = args.id, job_key(args.id)
local found = read_fields(job, 'status', 'enqueue_at_front', 'enqueue_at_front_on_retry', 'ended_at', 'ttl',
  'rate_limit_key', 'rate_limit_concurrency', 'heori_unknown_to')
if found.status ~= 'scheduled' then
  return found.status or ''
end
redis.call('LLEN', queue) -- a key that holds no list is told of before anything is written
if redis.call('ZREM', scheduled, id) == 0 then
  return 'missing'
end
local retried = found.ended_at and found.ended_at ~= ''
local first = found.enqueue_at_front == '1' or retried and found.enqueue_at_front_on_retry == '1'
local ok, waits = pcall(wait_for_slot, id, found, first) -- pcall: its limit's keys may hold anything
if not (ok and waits) then
  redis.call('HSET', job, 'status', 'queued', 'enqueued_at', now_iso)
  local ttl_s = to_integer(found.ttl, 0) -- RQ counts it from here
  if ttl_s > 0 then
    redis.call('EXPIRE', job, ttl_s)
  end
  redis.call(first and 'LPUSH' or 'RPUSH', queue, id)
  redis.pcall('SADD', queues, queue) -- a queue that ran empty may have been deleted
  jobs_arrived(queue, 1, found.heori_unknown_to)
end
return 'done'
