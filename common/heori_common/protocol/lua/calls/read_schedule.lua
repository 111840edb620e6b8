-- read_schedule.lua: the periodic entries of a service, for people.
-- KEYS   schedule (hash), versions (zset)
-- ARGS   nothing
-- REPLY  msgpack [now_ms, [[since_ms, whether a living consumer has them, [packed entry, …]], …]]
-- FULL   only reads
-- USES   current_version

local all, current, alive = published(KEYS[1], KEYS[2])
local found = {}
for _, version in pairs(current) do
  found[#found + 1] = { all[version][1], alive[version] or false, all[version][2] }
end
return cmsgpack.pack({ now_ms, found })
