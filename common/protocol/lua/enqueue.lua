-- enqueue.lua: write jobs as rq 3.0.0 writes them and put them on their queue, or, when they
-- are to run later, among its scheduled jobs.
-- Sending the same ids again changes nothing, so a producer may retry after a lost reply.
-- KEYS   queues (set), queue (list), scheduled (zset)
-- ARGS   jobs, origin, delay, at, job_stem
--        jobs: [[id, [field, value, …]], …], the fields that differ from job to job
--        origin: the name of the queue
--        delay: seconds from now; at: epoch seconds in its place, or false
-- REPLY  how many were new
-- USES   time, clock

local due = args.at or now + args.delay
local later = due > now
-- A key that does not hold what it should is told of before anything is written.
redis.call('LLEN', KEYS[2])
if later then
  redis.call('ZCARD', KEYS[3])
end
redis.call('SADD', KEYS[1], KEYS[2])
local ids, scores = {}, {}
for _, job in ipairs(args.jobs) do
  local id, fields = unpack(job)
  local key = args.job_stem .. id
  if redis.call('EXISTS', key) == 0 then
    if later then
      scores[#scores + 1] = string.format('%.6f', due)
      scores[#scores + 1] = id
    else
      fields[#fields + 1] = 'enqueued_at'
      fields[#fields + 1] = today
    end
    -- rq.job.Job.to_dict; the empty fields are RQ's, and some of its readers look for them.
    redis.call('HSET', key, 'status', later and 'scheduled' or 'queued', 'created_at', today,
      'origin', args.origin, 'started_at', '', 'ended_at', '', 'last_heartbeat', '',
      'worker_name', '', 'group_id', '', 'success_callback_name', '', 'failure_callback_name', '',
      'stopped_callback_name', '', unpack(fields))
    ids[#ids + 1] = id
  end
end
if later and #ids > 0 then
  redis.call('ZADD', KEYS[3], unpack(scores))
elseif #ids > 0 then
  redis.call('RPUSH', KEYS[2], unpack(ids))
end
return #ids
