-- retry_canceled.lua: let a cancelled job run after all: it goes to the end of its queue, or waits on for the
-- jobs for which it has waited.
-- KEYS   queues (set), queue (list), deferred (zset), canceled (zset)
-- ARGS   id, queue
--        queue: its name
-- REPLY  'done'; 'runs' when somebody works on it yet, 'rest' when it was cancelled after another job, 'late' when
--        it is not to begin any more; else the status of the job, '' if it is gone
-- FULL   passes
-- USES   now_s, read_fields, read_options, read_flow, arrivals, flows, dependents, runs, run_anew

local queues, queue, deferred, canceled = unpack(KEYS)
local id, job = args.id, job_key(args.id)
local found = read_fields(job, 'status', 'heori_options')
local options = found.heori_options and read_options(found.heori_options) or {}
local flow = found.heori_options and flow_of(found.heori_options)
local inputs = read_fields(inputs_key(id), 'rest', 'begun')
if found.status ~= 'canceled' then
  return found.status or ''
elseif runs(id) then
  return 'runs'
elseif flow and inputs.rest then
  return 'rest'
elseif type(options.expires) == 'number' and options.expires <= now_s then
  return 'late'
end
redis.call('LLEN', queue) -- a key that holds something else is told of before anything is written
redis.call('ZCARD', deferred)
local waits = flow and not inputs.begun or not flow and redis.call('SCARD', dependencies_key(id)) > 0
redis.call('ZREM', canceled, id)
redis.call('HDEL', job, 'heori_reason', 'heori_paused', 'heori_parked')
for _, key in ipairs({ dependents_key(id), dependencies_key(id), inputs_key(id) }) do
  redis.call('PERSIST', key)
end
if flow then
  redis.call('EXPIRE', inputs_key(id), KEPT_S)
end
redis.call('SADD', queues, queue)
begin_anew(id, args.queue)
if waits then
  redis.call('HSET', job, 'status', 'deferred', 'enqueued_at', '')
  redis.call('ZADD', deferred, math.floor(now_s), id)
  start_dependent(id, '', 'finished')
  tell_arrivals()
elseif not waits_for_slot(id) then
  redis.call('RPUSH', queue, id)
  jobs_arrived(queue, 1)
end
return 'done'
