-- publish_schedule.lua: tell which periodic entries the code of a consumer has, and that it lives.
-- Who has none tells it only where others of its application have had some, which thereby end.
-- KEYS   schedules (set), schedule (hash), versions (zset)
-- ARGS   service, version, consumer, entries, names, ttl_ms
--        version: see current_version.lua
--        entries: [packed entry, …]; names: theirs, in the same order
--        ttl_ms: for which it counts as living, unless it calls again
-- REPLY  1 if it was told, else 0
-- FULL   is refused
-- USES   now_s

local schedules, schedule, versions = unpack(KEYS)

local function had_some()
  local stem = string.match(args.version, '^[^.]*%.')
  for _, version in ipairs(redis.call('HKEYS', schedule)) do
    if string.sub(version, 1, #stem) == stem then
      return true
    end
  end
  return false
end

if #args.entries == 0 and not had_some() then
  return 0
end
local now_ms = math.floor(now_s * 1000)
redis.call('ZADD', versions, string.format('%.0f', now_ms + args.ttl_ms), args.version .. ' ' .. args.consumer)
redis.call('PEXPIRE', versions, 2 * args.ttl_ms)
if redis.call('HEXISTS', schedule, args.version) == 0 then
  redis.call('HSET', schedule, args.version, cmsgpack.pack({ now_ms, args.entries, args.names }))
end
redis.call('SADD', schedules, args.service)
return 1
