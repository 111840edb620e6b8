-- lock_renew.lua: renew the leases that are still held; name those that are lost.
-- KEYS   each lock (hash)
-- ARGS   requests
--        requests: [[number of the lock from 0, id, lease_us], …]
-- REPLY  msgpack [number of the lost request from 0, …]
-- FULL   passes
-- USES   now_us, lock_record

local lost = {}
for n, request in ipairs(args.requests) do
  local lock, id, lease_end_us = KEYS[request[1] + 1], request[2], now_us + request[3]
  -- pcall: a key that holds something else has taken the leases with it
  local held_until = redis.pcall('ZSCORE', holders_key(lock), id)
  if type(held_until) == 'string' and tonumber(held_until) > now_us then
    redis.call('ZADD', holders_key(lock), lease_end_us, id)
  else
    lost[#lost + 1] = n - 1
  end
end
return cmsgpack.pack(lost)
