-- count_queues.lua: how many jobs of some queues are where. For each queue only one service is told,
-- see told_by.lua: sums over all consumers would count a queue several times if all of them told of it.
-- The jobs of a queue's tenants are counted with its own.
-- KEYS   queues (set), then for each queue: counter (string), queue (list), then zsets: wip,
--        scheduled, deferred, finished, failed, canceled, line; bound (hash)
-- ARGS   bound_fields
-- REPLY  msgpack [now_s, [[number of a queue from 0, how many wait, when the first of
--        them was enqueued or false, how many are in each zset …, the fields of the bound,
--        how many tenants it has, how many wait for a rate, whether it is paused, how many of its tenants
--        are], …], how many tasks are paused]
-- FULL   passes
-- USES   now_s, queue_names, all_tenants, told_by

local SIZE = 10 -- keys of a queue
local FIRST = 10 -- ids of jobs that may be gone, so that there is no telling how long they wait

local function count(command, key)
  local number = redis.pcall(command, key)
  return type(number) == 'number' and number or 0
end

-- When the first was enqueued that waits there, or false.
local function oldest(queue)
  for _, id in ipairs(redis.call('LRANGE', queue, 0, FIRST - 1)) do
    local enqueued = redis.pcall('HGET', job_key(id), 'enqueued_at')
    if type(enqueued) == 'string' then
      return enqueued
    end
  end
  return false
end

-- Adds what a queue, or one of a queue's tenants, has to the counts.
local function add(counts, key, tenant)
  local function mine(shared)
    return tenant and of_tenant(shared, tenant) or shared
  end
  local queue = mine(KEYS[key + 1])
  local waiting = count('LLEN', queue)
  local first = waiting > 0 and oldest(queue)
  counts[2] = counts[2] + waiting
  if first and not (counts[3] and counts[3] < first) then
    counts[3] = first
  end
  for n = 2, SIZE - 2 do
    counts[n + 2] = (counts[n + 2] or 0) + count('ZCARD', mine(KEYS[key + n]))
  end
end

local function count_rated(name)
  local rates, waiting = redis.pcall('ZRANGE', rates_key(name), 0, -1), 0
  for _, rate in ipairs(rates.err and {} or rates) do
    waiting = waiting + count('ZCARD', rate_line_key(name, rate))
  end
  return waiting
end

local paused, tasks_paused = {}, 0
local listed = redis.pcall('HKEYS', paused_key())
for _, what in ipairs(listed.err and {} or listed) do
  paused[what] = true
  tasks_paused = tasks_paused + (string.sub(what, 1, 5) == 'task:' and 1 or 0)
end

local counted = {}
local tenants = all_tenants(KEYS[1])
for q = 0, (#KEYS - 1) / SIZE - 1 do
  local key = q * SIZE + 2
  if is_to_tell(KEYS[key]) then
    local counts = { q, 0, false }
    add(counts, key)
    local names = tenants[KEYS[key + 1]] or {}
    local name, tenants_paused = queue_name(KEYS[key + 1]), 0
    for _, tenant in ipairs(names) do
      add(counts, key, tenant)
      tenants_paused = tenants_paused + (paused['queue:' .. of_tenant(name, tenant)] and 1 or 0)
    end
    local bound = redis.pcall('HMGET', KEYS[key + SIZE - 1], unpack(args.bound_fields))
    counts[#counts + 1] = bound.err and {} or bound
    counts[#counts + 1] = #names
    counts[#counts + 1] = count_rated(name)
    counts[#counts + 1] = paused['queue:' .. name] or false
    counts[#counts + 1] = tenants_paused
    counted[#counted + 1] = counts
  end
end
return cmsgpack.pack({ now_s, counted, tasks_paused })
