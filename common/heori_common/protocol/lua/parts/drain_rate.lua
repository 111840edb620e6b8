-- drain_rate.lua: how fast a queue with a limit is emptied, by what was sent less what still waits.
-- USES   now_s, now_text, to_integer, read_fields

local WINDOW_S = 1 -- over which the rate is taken
local OLD_S = 10 -- after which it is begun anew

-- Returns jobs a second, 0 when none were taken or nothing is known yet.
local function drain_rate(bound, depth)
  local found = read_fields(bound, 'sent', 'seen_at', 'seen_gone', 'rate')
  local rate = tonumber(found.rate) or 0
  local gone = to_integer(found.sent, 0) - depth
  local past_s = now_s - (tonumber(found.seen_at) or 0)
  if past_s < WINDOW_S then
    return rate
  end
  if past_s < OLD_S then
    rate = math.max(0, gone - to_integer(found.seen_gone, gone)) / past_s
  end
  redis.call('HSET', bound, 'seen_at', now_text, 'seen_gone', gone, 'rate', string.format('%.3f', rate))
  return rate
end
