-- read_jobs.lua: read jobs as they are, whatever their keys hold.
-- KEYS   none declared: those of each job and of its results
-- ARGS   ids, fields, result, most_value, most_bytes
--        fields: [name, …], what to read; empty for all
--        result: whether to read the latest result, too
--        most_value: bytes; a longer value is replaced by its length
--        most_bytes: that are read, about; no further job is read then
-- REPLY  msgpack [[type of the job's key, values, result], …] for the first of ids, one at least
--        values: [value or false, …] in the order of fields, or [field, value, …]
--        result: [field, value, …]
-- FULL   only reads

local size = 0
local function short(values)
  for n, value in ipairs(values) do
    if value then
      size = size + #value
      values[n] = #value > args.most_value and #value or value
    end
  end
  return values
end

local jobs = {}
for n, id in ipairs(args.ids) do
  if size > args.most_bytes then
    break
  end
  local job = job_key(id)
  local kind = redis.call('TYPE', job).ok
  local values, result = {}, {}
  if kind == 'hash' and #args.fields > 0 then
    values = short(redis.call('HMGET', job, unpack(args.fields)))
  elseif kind == 'hash' then
    values = short(redis.call('HGETALL', job))
  end
  if args.result then
    local latest = redis.pcall('XREVRANGE', results_key(id), '+', '-', 'COUNT', 1)
    if not latest.err and latest[1] then
      result = short(latest[1][2])
    end
  end
  jobs[n] = { kind, values, result }
end
return cmsgpack.pack(jobs)
