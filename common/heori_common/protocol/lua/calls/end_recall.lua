-- end_recall.lua: wait no more for jobs that were asked for: what was not given back goes on.
-- KEYS   none declared: those of the jobs
-- ARGS   ids
-- REPLY  msgpack [number of an id from 0 that is cancelled, …]
-- FULL   passes
-- USES   read_fields

local canceled = {}
for n, id in ipairs(args.ids) do
  local found = read_fields(job_key(id), 'status', 'heori_execution')
  -- What rq cancels after its claim has its execution, and may run.
  if found.status == 'canceled' and (found.heori_execution or '') == '' then
    canceled[#canceled + 1] = n - 1
  else
    redis.pcall('HDEL', job_key(id), 'heori_recalled') -- pcall: it may hold something else
  end
end
return cmsgpack.pack(canceled)
