-- extend.lua: extend the leases that are still held; name those that are lost.
-- KEYS   for each queue: wip (zset)
-- ARGS   leases, lease_end_offset
--        leases: [[queue number from 0, 'id:execution'], …]
-- REPLY  msgpack [number of the lost lease from 0, …]
-- USES   clock

local lost = {}
local lease_end = math.ceil(now + args.lease_end_offset)
for n, lease in ipairs(args.leases) do
  local wip = KEYS[lease[1] + 1]
  if redis.call('ZSCORE', wip, lease[2]) then
    redis.call('ZADD', wip, lease_end, lease[2])
  else
    lost[#lost + 1] = n - 1
  end
end
return cmsgpack.pack(lost)
