-- find_task.lua: what consumers have published of a task, the one that started last coming first.
-- KEYS   versions (zset)
-- ARGS   task, most_names
-- REPLY  msgpack [JSON, or false when there is no such task, [name of another one, …]]
-- FULL   only reads

local versions = redis.call('ZRANGE', KEYS[1], 0, -1)
for n = #versions, 1, -1 do
  local found = redis.pcall('HGET', published_key(versions[n]), args.task) -- pcall: it may hold something else
  if type(found) == 'string' then
    return cmsgpack.pack({ found, {} })
  end
end
local names, seen = {}, {}
for _, version in ipairs(versions) do
  local known = redis.pcall('HKEYS', published_key(version))
  for _, name in ipairs(known.err and {} or known) do
    if not seen[name] and #names < args.most_names then
      seen[name] = true
      names[#names + 1] = name
    end
  end
end
return cmsgpack.pack({ false, names })
