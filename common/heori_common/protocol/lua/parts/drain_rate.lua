-- drain_rate.lua: how fast a queue with a limit is emptied, by what was sent less what still waits.
-- USES   now_s, rq_time, to_integer

local WINDOW, OLD = 1, 10 -- seconds over which it is taken; and after which it is begun anew

-- Returns jobs a second, 0 when none were taken or nothing is known yet.
local function drain_rate(bound, depth)
  local found = redis.call('HMGET', bound, 'sent', 'seen_at', 'seen_gone', 'rate')
  local sent, seen_at, seen_gone, rate = unpack(found, 1, 4)
  rate = tonumber(rate or '0') or 0
  local gone = to_integer(sent, 0) - depth
  local past = now_s - (tonumber(seen_at or '0') or 0)
  if past < WINDOW then
    return rate
  end
  if past < OLD then
    rate = math.max(0, gone - to_integer(seen_gone, gone)) / past
  end
  redis.call('HSET', bound, 'seen_at', now_text, 'seen_gone', gone, 'rate', string.format('%.3f', rate))
  return rate
end
