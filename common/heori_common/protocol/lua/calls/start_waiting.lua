-- start_waiting.lua: queue the jobs of a queue that wait for others and need not: all of these have ended,
-- or nothing is left of them, and whoever was to see to it has died. It is called again with the cursor of
-- the last reply until that is '0'.
-- KEYS   nothing
-- ARGS   queue, cursor, most, ready_s
--        most: jobs to look at in one call, about
--        ready_s: for which somebody may yet be about to put a job on its queue
-- REPLY  msgpack [cursor, how many were started]
-- FULL   passes
-- USES   now_s, to_integer, read_fields, end_job, dependents, ready

local name, started = args.queue, 0
if args.cursor == '0' then
  started = enqueue_ready(name, now_s - args.ready_s, args.most)
end
local page = redis.pcall('ZSCAN', deferred_key(name), args.cursor, 'COUNT', args.most)
if page.err then
  return cmsgpack.pack({ '0', started }) -- it holds something else
end
for n = 1, #page[2], 2 do
  local id = page[2][n]
  local others = redis.pcall('SMEMBERS', dependencies_key(id))
  -- pcall: a key may hold something else; the others need not wait for it
  pcall(start_dependent, id, '', 'finished')
  if read_fields(job_key(id), 'status').status ~= 'deferred' then
    started = started + 1
    for _, other in ipairs(others.err and {} or others) do
      redis.pcall('SREM', dependents_key(other), id) -- else rq might start it once more
    end
  end
end
tell_arrivals()
return cmsgpack.pack({ page[1], started })
