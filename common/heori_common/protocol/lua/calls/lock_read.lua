-- lock_read.lua: who holds a lock and who waits for it. It changes nothing.
-- KEYS   fence (string), locks (zset), waits (hash), the lock (hash)
-- ARGS   holders, waiters
-- REPLY  msgpack [now, limit that was set or false, holders, waiters]; each of them [[id, end of
--        the lease or ticket, record], …], without those whose lease is over
-- USES   now_us, lock_record

local function entries(key, first)
  local found = {}
  local scores = redis.call('ZRANGEBYSCORE', key, first, '+inf', 'WITHSCORES')
  for n = 1, #scores, 2 do
    local record = read_record(KEYS[4], scores[n])
    if record then
      found[#found + 1] = { scores[n], tonumber(scores[n + 1]), record }
    end
  end
  return found
end

return cmsgpack.pack({ now_us, tonumber(redis.call('HGET', KEYS[4], 'limit')) or false,
  entries(KEYS[4] .. args.holders, '(' .. to_digits(now_us)),
  entries(KEYS[4] .. args.waiters, '-inf') })
