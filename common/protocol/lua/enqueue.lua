-- enqueue.lua: write jobs as rq 3.0.0 writes them and put them on their queue.
-- Sending the same ids again changes nothing, so a producer may retry after a lost reply.
-- KEYS   queues (set), queue (list)
-- ARGS   jobs, job_stem
--        jobs: [[id, [field, value, …]], …]
-- REPLY  how many were new
-- USES   clock

redis.call('LLEN', KEYS[2]) -- a key that holds no list is told of before anything is written
redis.call('SADD', KEYS[1], KEYS[2])
local ids = {}
for _, job in ipairs(args.jobs) do
  local key = args.job_stem .. job[1]
  if redis.call('EXISTS', key) == 0 then
    redis.call('HSET', key, 'created_at', today, 'enqueued_at', today, unpack(job[2]))
    ids[#ids + 1] = job[1]
  end
end
if #ids > 0 then
  redis.call('RPUSH', KEYS[2], unpack(ids))
end
return #ids
