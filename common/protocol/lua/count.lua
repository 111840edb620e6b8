-- count.lua: how many jobs of some queues are where. For each queue only one consumer is told, who
-- holds its lease or takes it: were it told by all, sums over all consumers would count it often.
-- KEYS   for each queue: counter (string), queue (list), then zsets: wip, scheduled, deferred,
--        finished, failed, canceled, line; bound (hash)
-- ARGS   consumer, lease, job_stem, bound_fields
--        lease: milliseconds
-- REPLY  msgpack [the server's time, [[number of a queue from 0, how many wait, when the first of
--        them was enqueued or false, how many are in each zset …, the fields of the bound], …]]
-- USES   time, clock

local SIZE = 10 -- keys of a queue
local FIRST = 10 -- ids of jobs that may be gone, so that there is no telling how long they wait

local function holds_lease(key)
  local holder = redis.pcall('GET', key)
  if holder and holder ~= args.consumer then
    return false -- an error, too: the key holds something else, and nobody counts
  end
  redis.call('SET', key, args.consumer, 'PX', args.lease)
  return true
end

local function count(command, key)
  local number = redis.pcall(command, key)
  return type(number) == 'number' and number or 0
end

local counted = {}
for q = 0, #KEYS / SIZE - 1 do
  local key = q * SIZE + 1
  if holds_lease(KEYS[key]) then
    local counts = { q, count('LLEN', KEYS[key + 1]), false }
    if counts[2] > 0 then
      for _, id in ipairs(redis.call('LRANGE', KEYS[key + 1], 0, FIRST - 1)) do
        local enqueued = redis.pcall('HGET', args.job_stem .. id, 'enqueued_at')
        if type(enqueued) == 'string' then
          counts[3] = enqueued
          break
        end
      end
    end
    for zset = key + 2, key + SIZE - 2 do
      counts[#counts + 1] = count('ZCARD', KEYS[zset])
    end
    local bound = redis.pcall('HMGET', KEYS[key + SIZE - 1], unpack(args.bound_fields))
    counts[#counts + 1] = bound.err and {} or bound
    counted[#counted + 1] = counts
  end
end
return cmsgpack.pack({ now, counted })
