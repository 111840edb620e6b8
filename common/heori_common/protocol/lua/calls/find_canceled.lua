-- find_canceled.lua: which of these claimed jobs were cancelled or deleted since.
-- KEYS   none declared: those of the jobs
-- ARGS   ids
-- REPLY  msgpack [number of such an id from 0, …]
-- FULL   only reads
-- USES   has_type

local canceled = {}
for n, id in ipairs(args.ids) do
  local job = job_key(id)
  -- a claim has given each job a status; what holds no hash any more fails by itself
  local status = has_type('hash', job) and redis.call('HGET', job, 'status')
  if status == 'canceled' or redis.call('EXISTS', job) == 0 then
    canceled[#canceled + 1] = n - 1
  end
end
return cmsgpack.pack(canceled)
