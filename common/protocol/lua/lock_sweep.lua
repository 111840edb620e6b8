-- lock_sweep.lua: look at locks whose holder's lease is over and that nobody has asked for since.
-- KEYS   fence (string), locks (zset), waits (hash)
-- ARGS   most, grant, holders, waiters
--        most: how many locks in one call
-- REPLY  how many there were
-- USES   lock_clock, lock_state, lock_pass

local overdue = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', whole_number(now), 'LIMIT', 0, args.most)
for _, lock in ipairs(overdue) do
  expire(lock)
  local first = redis.call('ZRANGE', lock .. args.holders, 0, 0, 'WITHSCORES')
  if first[2] then
    redis.call('ZADD', KEYS[2], first[2], lock)
  else
    redis.call('ZREM', KEYS[2], lock)
  end
end
return #overdue
