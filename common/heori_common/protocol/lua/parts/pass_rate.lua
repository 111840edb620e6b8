-- pass_rate.lua: whether a job that is about to be claimed may begin; if not, it waits in line.
-- USES   now_us, queue_names, rates, set_aside

local refused = {} -- lines behind which whoever comes has to wait, for the rest of the call

-- Whether a job that is about to be claimed may begin.
local function may_begin(id, line, rate, came_us)
  if redis.call('EXISTS', line) == 0 then
    return next_us(rate, 0) <= now_us
  end
  local back, first, first_came_us = look_at_line(line)
  if came_us then -- it is back
    return next_us(rate, 0) <= now_us and (not first or first == id or came_us <= first_came_us)
  end
  return not first and next_us(rate, back) <= now_us
end

local function wait_in_line(id, queue, line, rate, came_us_before)
  local came_us = came_us_before or place_in(line)
  redis.call('ZADD', line, to_score(came_us), id)
  if came_us_before or not refused[line] then
    local back = look_at_line(line)
    note_due(whole_name(queue_name(queue)), rate.name, math.max(now_us, next_us(rate, back)))
  end
  set_aside(id, queue, 'heori_parked', string.format('%.0f', came_us))
end

-- Notes that a job has begun.
local function use_up(id, queue, line, rate, came_us)
  used_up[rate.name] = used_up_until(rate) + rate.interval_us
  local left_ms = math.ceil((used_up[rate.name] - now_us) / 1000)
  redis.call('SET', rate_key(rate.name), to_score(used_up[rate.name]), 'PX', left_ms)
  if came_us then
    redis.call('HDEL', job_key(id), 'heori_parked')
  end
  if redis.call('ZREM', line, id) == 1 then
    local back, first = look_at_line(line)
    if first then
      note_due(whole_name(queue_name(queue)), rate.name, next_us(rate, back))
    end
  end
end

-- Has a job wait, or returns what is to be done when it is claimed.
local function pass_rate(id, queue, rate)
  local line = rate_line_key(whole_name(queue_name(queue)), rate.name)
  local came_us = tonumber(redis.call('HGET', job_key(id), 'heori_parked'))
  if refused[line] and not came_us or not may_begin(id, line, rate, came_us) then
    wait_in_line(id, queue, line, rate, came_us)
    refused[line] = true
    return nil
  end
  return function()
    use_up(id, queue, line, rate, came_us)
  end
end
