-- lock_renew.lua: renew the leases that are still held; name those that are lost.
-- KEYS   fence (string), locks (zset), waits (hash), then each lock (hash)
-- ARGS   requests, holders
--        requests: [[number of the lock from 0, id, lease (µs)], …]
-- REPLY  msgpack [number of the lost request from 0, …]
-- USES   now_us, lock_record

local lost = {}
for n, request in ipairs(args.requests) do
  local lock, id, lease_end = KEYS[request[1] + 4], request[2], now_us + request[3]
  -- pcall: a key that holds something else has taken the leases with it
  local until_when = redis.pcall('ZSCORE', lock .. args.holders, id)
  if type(until_when) == 'string' and tonumber(until_when) > now_us then
    redis.call('ZADD', lock .. args.holders, to_digits(lease_end), id)
  else
    lost[#lost + 1] = n - 1
  end
end
return cmsgpack.pack(lost)
