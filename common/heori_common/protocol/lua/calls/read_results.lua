-- read_results.lua: read the results that are kept of a job, of whatever size.
-- KEYS   none declared, so that a user may call it who has no right to write: that of the job's results
-- ARGS   id, most, most_value
--        most: results; most_value: bytes; a longer value is replaced by its length
-- REPLY  msgpack [[id, [field, value, …]], …], the latest first
-- FULL   only reads

local results = redis.call('XREVRANGE', results_key(args.id), '+', '-', 'COUNT', args.most)
for _, result in ipairs(results) do
  local fields = result[2]
  for n = 2, #fields, 2 do
    if #fields[n] > args.most_value then
      fields[n] = #fields[n]
    end
  end
end
return cmsgpack.pack(results)
