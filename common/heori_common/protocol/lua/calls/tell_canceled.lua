-- tell_canceled.lua: tell consumers which of their claimed jobs were cancelled since.
-- KEYS   wip (zset)
-- ARGS   cursor, mark, kind, most_looked_at
--        cursor: of the last reply; '0' to begin
--        mark: how the name of an execution of ours begins
--        kind: of the message, msgpack [kind, [id, …]]
--        most_looked_at: jobs, about
-- REPLY  the next cursor; '0' when all were looked at
-- FULL   passes
-- USES   has_type, our_leases, read_fields

if not has_type('zset', KEYS[1]) then
  return '0'
end
local cursor, found = unpack(redis.call('ZSCAN', KEYS[1], args.cursor, 'COUNT', args.most_looked_at))
local entries = {}
for n = 1, #found, 2 do
  entries[#entries + 1] = found[n]
end
local canceled = {} -- by the name of the consumer
for _, lease in ipairs(our_leases(entries, args.mark)) do
  local job = read_fields(job_key(lease.id), 'status', 'worker_name')
  if job.status == 'canceled' and job.worker_name then
    canceled[job.worker_name] = canceled[job.worker_name] or {}
    table.insert(canceled[job.worker_name], lease.id)
  end
end
for consumer, ids in pairs(canceled) do
  redis.call('PUBLISH', told_key(consumer), cmsgpack.pack({ args.kind, ids }))
end
return cursor
