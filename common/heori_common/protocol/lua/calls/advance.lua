-- advance.lua: put jobs that wait in their queues to the front of these, as others wait for them.
-- KEYS   for each queue: queue (list)
-- ARGS   jobs
--        jobs: [[queue number from 0, id], …], the job that is to stand first last
-- REPLY  msgpack [number from 0 of a job that waited, …]
-- FULL   passes
-- USES   read_fields

local found = {}
for n, job in ipairs(args.jobs) do
  local queue, id = KEYS[job[1] + 1], job[2]
  -- Whoever waits has sent it lately, so that it stands near the end.
  if read_fields(job_key(id), 'status').status == 'queued' and redis.call('LREM', queue, -1, id) == 1 then
    redis.call('LPUSH', queue, id)
    found[#found + 1] = n - 1
  end
end
return cmsgpack.pack(found)
