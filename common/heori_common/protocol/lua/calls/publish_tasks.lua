-- publish_tasks.lua: write the tasks that a consumer has. When there are too many versions, those go that
-- no consumer has kept for longest.
-- KEYS   versions (zset), the tasks of this one (hash)
-- ARGS   version, tasks, ttl_s, most_versions
--        tasks: [[name, JSON], …], one at least
-- REPLY  how many versions have gone for it
-- FULL   is refused
-- USES   now_s

local versions, tasks = unpack(KEYS)
redis.call('DEL', tasks)
for _, task in ipairs(args.tasks) do
  redis.call('HSET', tasks, task[1], task[2])
end
redis.call('EXPIRE', tasks, args.ttl_s)
redis.call('ZADD', versions, now_s, args.version)
redis.call('EXPIRE', versions, args.ttl_s)

local left = {}
for n, version in ipairs(redis.call('ZRANGE', versions, 0, -1)) do
  left[n] = { redis.call('TTL', published_key(version)), n, version }
end
table.sort(left, function(a, b)
  return a[1] < b[1] or a[1] == b[1] and a[2] < b[2]
end)
local gone = math.max(0, #left - args.most_versions)
for n = 1, gone do
  redis.call('UNLINK', published_key(left[n][3]))
  redis.call('ZREM', versions, left[n][3])
end
return gone
