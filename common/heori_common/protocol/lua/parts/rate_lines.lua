-- rate_lines.lua: put jobs back on their queue that wait for a rate, when they may begin.
-- USES   now_us, queue_names, has_type, read_fields, arrivals, rates

local LATEST = 8 -- of those that went back before

-- By the queue of each, the job of a line that went back to it last, as far as these are the latest.
local function latest_back(line)
  local found = {}
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', line, '-inf', '(0', 'LIMIT', 0, LATEST)) do
    local origin = read_fields(job_key(id), 'origin').origin
    if origin and not found[origin] then
      found[origin] = id
    end
  end
  return found
end

-- Puts jobs to the front of their queues, but behind those that went back before and still stand there.
local function put_back(ids, origins, before)
  local arrived = {}
  for n = #ids, 1, -1 do -- the first of them last
    local id, origin = ids[n], origins[n]
    local queue, pivot = queue_key(origin), before[origin]
    if not pivot or redis.call('LINSERT', queue, 'AFTER', pivot, id) <= 0 then
      redis.call('LPUSH', queue, id)
    end
    redis.call('HSET', job_key(id), 'status', 'queued')
    redis.pcall('ZREM', deferred_key(origin), id) -- pcall: it may hold something else
    redis.pcall('ZREM', parked_key(origin), id)
    arrived[queue] = (arrived[queue] or 0) + 1
  end
  for queue, jobs in pairs(arrived) do
    jobs_arrived(queue, jobs)
  end
end

local MOST_LOOKED_AT = 100 -- of one line, before it is the turn of another

-- Lets jobs of one line begin; returns how many.
local function let_begin(name, rate_name)
  local line = rate_line_key(name, rate_name)
  redis.call('ZREMRANGEBYSCORE', line, to_score(-(now_us - CLAIMED_IN_US)), '(0')
  local back = redis.call('ZCOUNT', line, '-inf', '(0')
  local waiting = redis.call('ZRANGEBYSCORE', line, 0, '+inf', 'LIMIT', 0, MOST_LOOKED_AT)
  local before = back > 0 and latest_back(line) or {}
  local rate, ids, origins, looked = nil, {}, {}, 0
  for _, id in ipairs(waiting) do
    local found = read_fields(job_key(id), 'status', 'origin', 'heori_options')
    local its_line, its = line_of(queue_key(name), found.heori_options)
    local waits = found.status == 'deferred' and found.origin and its_line == line
    rate = waits and its or rate
    if waits and next_us(its, back + #ids) > now_us then
      break
    end
    looked = looked + 1
    if waits and has_type('list', queue_key(found.origin)) then
      ids[#ids + 1], origins[#origins + 1] = id, found.origin
      redis.call('ZADD', line, to_score(-now_us - #ids), id)
    else
      -- It has gone another way; or its queue takes nothing, and the reaper tries again.
      redis.call('ZREM', line, id)
    end
  end
  put_back(ids, origins, before)
  if looked == #waiting and #waiting < MOST_LOOKED_AT then
    redis.call('ZREM', rates_key(name), rate_name)
  elseif #ids == 0 and back > 0 then -- all consumers are at work, and have not claimed those yet
    note_due(name, rate_name, now_us + CLAIMED_IN_US)
  else
    note_due(name, rate_name, rate and math.max(now_us, next_us(rate, back + #ids)) or now_us)
  end
  return #ids
end

local MOST_LINES = 20 -- of one queue, in one call

-- Lets jobs of a queue begin, whatever their rates. Returns how many, and in how many seconds others may,
-- or false.
local function let_all_begin(name)
  local begun = 0
  for _ = 1, MOST_LINES do
    local first = redis.call('ZRANGE', rates_key(name), 0, 0, 'WITHSCORES')
    local left_us = first[1] and tonumber(first[2]) - now_us
    if not left_us or left_us > 0 then
      return begun, left_us and left_us / 1000000
    end
    begun = begun + let_begin(name, first[1])
  end
  return begun, 0
end
