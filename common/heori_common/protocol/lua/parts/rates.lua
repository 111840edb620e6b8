-- rates.lua: how many jobs may begin in a time, over all consumers, as @task(rate="100/min") says.
-- RQ's RateLimit is another thing: how many jobs are queued or run at once; see rate_limit.lua.
-- The rule is GCRA (ITU-T I.371). A key of the rate has the time up to which it is used up. Each job
-- that begins moves it on by one interval, from now at the earliest; a job may begin while that time
-- is no more than `burst - 1` intervals away.
-- Jobs that may not begin yet leave their queue. They wait in a line of that queue and rate, by when
-- they have come. When some may begin, as many go back to the front of the queue. They stay in the line
-- until they are claimed, with a score below 0: the others may not take their place.
-- USES   now_us, queue_names, read_options

local CLAIMED_IN_US = 5000000 -- what is back on its queue for longer is not waited for

local function to_score(number)
  return string.format('%.3f', number)
end

-- What a job's options say of its rate: its name, its interval (µs) and burst. False where they say
-- nothing; nil when that has no meaning.
local function rate_of(options)
  local rate = options.rate
  if rate == nil then
    return false
  end
  local name, interval_us, burst = unpack(type(rate) == 'table' and rate or {})
  if type(name) ~= 'string' or type(interval_us) ~= 'number' or type(burst) ~= 'number'
    or not (interval_us >= 1 and interval_us <= 1e16 and burst >= 1 and burst <= 1e9) then
    return nil
  end
  return { name = name, interval_us = interval_us, burst = burst }
end

local used_up = {} -- rate to the time up to which it is, read once in a call

local function used_up_until(rate)
  used_up[rate.name] = used_up[rate.name] or tonumber(redis.call('GET', rate_key(rate.name))) or 0
  return math.max(used_up[rate.name], now_us)
end

-- When the next job of a rate may begin, if so many others do before it.
local function next_us(rate, others)
  return used_up_until(rate) - (rate.burst - 1 - others) * rate.interval_us
end

-- How many jobs of a line are back on their queue; and the first of the others, and when it came.
local function look_at_line(line)
  local first = redis.call('ZRANGEBYSCORE', line, 0, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  return redis.call('ZCOUNT', line, '-inf', '(0'), first[1], tonumber(first[2])
end

-- The line in which a job of that queue waits for a rate; nil where its options name none.
--   field: heori_options of its hash; queue: a key
local function line_of(queue, field)
  local options = field and read_options(field)
  local rate = options and rate_of(options)
  if rate then
    return rate_line_key(whole_name(queue_name(queue)), rate.name), rate
  end
end

-- When its line is to be looked at, as jobs wait in it.
local function note_due(queue, rate_name, due_us)
  redis.call('ZADD', rates_key(queue), to_score(due_us), rate_name)
end
