-- lock_read.lua: who holds a lock and who waits for it. It changes nothing.
-- KEYS   the lock (hash)
-- ARGS   nothing
-- REPLY  msgpack [now_us, limit that was set or false, holders, waiters]; each of them [[id,
--        lease_end_us or ticket, record], …], without those whose lease is over
-- FULL   only reads
-- USES   now_us, lock_record

local function entries(key, first)
  local found = {}
  local scores = redis.call('ZRANGEBYSCORE', key, first, '+inf', 'WITHSCORES')
  for n = 1, #scores, 2 do
    local record = read_record(KEYS[1], scores[n])
    if record then
      found[#found + 1] = { scores[n], tonumber(scores[n + 1]), record }
    end
  end
  return found
end

return cmsgpack.pack({ now_us, tonumber(redis.call('HGET', KEYS[1], 'limit')) or false,
  entries(holders_key(KEYS[1]), '(' .. string.format('%.0f', now_us)),
  entries(waiters_key(KEYS[1]), '-inf') })
