-- extend.lua: extend the leases that are still held; name those that are lost.
-- KEYS   for each queue: wip (zset)
-- ARGS   leases, lease_end_offset
--        leases: [[queue number from 0, 'id:execution'], …]
-- REPLY  msgpack [number of the lost lease from 0, …]
-- USES   clock, holds

local sound = {}
for q, wip in ipairs(KEYS) do
  sound[q] = holds('zset', wip) -- else whatever has overwritten it took the leases with it
end
local lost = {}
local lease_end = math.ceil(now + args.lease_end_offset)
for n, lease in ipairs(args.leases) do
  local q = lease[1] + 1
  if sound[q] and redis.call('ZSCORE', KEYS[q], lease[2]) then
    redis.call('ZADD', KEYS[q], lease_end, lease[2])
  else
    lost[#lost + 1] = n - 1
  end
end
return cmsgpack.pack(lost)
