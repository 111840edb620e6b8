-- start_waiting.lua: queue the jobs of a queue that wait for others and need not: all of these have ended,
-- or nothing is left of them, and whoever was to see to it has died. What waits for jobs that were never
-- sent is cancelled. It is called again with the cursor of the last reply until that is '0'.
-- KEYS   nothing
-- ARGS   queue, cursor, most, ready_s, only_ours
--        most: jobs to look at in one call, about
--        only_ours: whether those stay as they are that wait by RQ's rules
--        ready_s: for which somebody may yet be about to put a job on its queue
-- REPLY  msgpack [cursor, how many do not wait any more: they were started or cancelled]
-- FULL   passes
-- USES   now_s, to_integer, read_fields, end_job, read_flow, flows, dependents, ready

local name, started = args.queue, 0
if args.cursor == '0' then
  started = enqueue_ready(name, now_s - args.ready_s, args.most)
end
local page = redis.pcall('ZSCAN', deferred_key(name), args.cursor, 'COUNT', args.most)
if page.err then
  return cmsgpack.pack({ '0', started }) -- it holds something else
end
local function look_at(id)
  local others = redis.pcall('SMEMBERS', dependencies_key(id))
  -- pcall: a key may hold something else; the others need not wait for it
  pcall(start_dependent, id, '', 'finished')
  if read_fields(job_key(id), 'status').status == 'deferred' then
    pcall(cancel_half_sent, id, name)
  end
  local status = read_fields(job_key(id), 'status').status
  if status ~= 'deferred' then
    started = started + 1
    for _, other in ipairs(others.err and {} or others) do
      -- Else rq might start it once more. One that was cancelled goes on once the other is replayed.
      if status ~= 'canceled' or redis.call('EXISTS', job_key(other)) == 0 then
        redis.pcall('SREM', dependents_key(other), id)
      end
    end
  end
end

for n = 1, #page[2], 2 do
  local id = page[2][n]
  local options = args.only_ours and read_fields(job_key(id), 'heori_options').heori_options
  if not args.only_ours or options and flow_of(options) then
    look_at(id)
  end
end
tell_arrivals()
return cmsgpack.pack({ page[1], started })
