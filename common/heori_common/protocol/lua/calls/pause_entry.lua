-- pause_entry.lua: let the ticks of a periodic entry pass by, or send them again from now on.
-- KEYS   entry (hash)
-- ARGS   paused
-- REPLY  whether that is new: 1 or 0
-- FULL   passes
-- USES   now_s, rq_time

if args.paused then
  return redis.call('HSETNX', KEYS[1], 'paused', now_iso)
end
local was_paused = redis.call('HDEL', KEYS[1], 'paused')
if was_paused == 1 and redis.call('HEXISTS', KEYS[1], 'last') == 1 then -- else no leader knows it yet
  redis.call('HSET', KEYS[1], 'last', string.format('%.0f', math.floor(now_s * 1000)))
end
return was_paused
