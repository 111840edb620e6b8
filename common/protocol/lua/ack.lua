-- ack.lua: acknowledge a batch of ended executions; each entry refuses a lost lease.
-- KEYS   for each queue: wip (zset), finished (zset), failed (zset); last: the consumer's hash
-- ARGS   entries, consumer, job_stem, results_stem, dependents_suffix, result_ttl, failure_ttl
--        entries: [[queue number from 0, id, execution, 'finished' or 'failed', started (epoch
--        seconds), run time (seconds), ttl or false, body or false], …]
-- REPLY  msgpack [[refused entry number from 0, …], [entry number whose job has dependents, …]]
-- USES   whole, clock, settle

local refused, with_dependents = {}, {}
local count = { finished = 0, failed = 0 }
local busy = 0
local registered = {} -- registry to [score, id, …]: one ZADD for all
for n, entry in ipairs(args.entries) do
  local q, id, execution, status, started, run, ttl, body = unpack(entry)
  if redis.call('ZREM', KEYS[3 * q + 1], id .. ':' .. execution) == 0 then
    refused[#refused + 1] = n - 1
  else
    local registry = status == 'finished' and KEYS[3 * q + 2] or KEYS[3 * q + 3]
    local field = status == 'finished' and 'return_value' or 'exc_string'
    local default = status == 'finished' and args.result_ttl or args.failure_ttl
    local score = settle(args, id, execution, status, whole(ttl, default),
      string.format('%.6f', started), field, body)
    if score then
      registered[registry] = registered[registry] or {}
      table.insert(registered[registry], score)
      table.insert(registered[registry], id)
    end
    count[status] = count[status] + 1
    busy = busy + run
    if redis.call('EXISTS', args.job_stem .. id .. args.dependents_suffix) == 1 then
      with_dependents[#with_dependents + 1] = n - 1
    end
  end
end
for registry, scores in pairs(registered) do
  redis.call('ZADD', registry, unpack(scores))
end
local me = KEYS[#KEYS]
if count.finished > 0 then
  redis.call('HINCRBY', me, 'successful_job_count', count.finished)
end
if count.failed > 0 then
  redis.call('HINCRBY', me, 'failed_job_count', count.failed)
end
if busy > 0 then
  redis.call('HINCRBYFLOAT', me, 'total_working_time', string.format('%.6f', busy))
end
return cmsgpack.pack({ refused, with_dependents })
