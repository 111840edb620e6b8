-- forget_entry.lua: forget a periodic entry that no living consumer has, until one has it again.
-- What a version has is kept until all of its entries are forgotten, as it is published whole.
-- KEYS   schedules (set), schedule (hash), versions (zset), entry (hash)
-- ARGS   service, entry
--        entry: its name
-- REPLY  'done'; 'lives' when a living consumer of this service has it; '' when none has had it
-- FULL   passes
-- USES   current_version

local FORGET_S = 30 * 86400 -- as of an entry that is gone from its code

local schedules, schedule, versions, key = unpack(KEYS)
local all, _, alive = published(schedule, versions)

local function has(version)
  for _, name in ipairs(all[version][3]) do
    if name == args.entry then
      return true
    end
  end
  return false
end

local dead = {}
for version in pairs(all) do
  if has(version) then
    if alive[version] then
      return 'lives'
    end
    dead[#dead + 1] = version
  end
end
if #dead == 0 then
  return ''
end
redis.call('HSET', key, 'removed', 1)
for _, version in ipairs(dead) do
  local names, is_whole = all[version][3], true
  for _, name in ipairs(names) do
    is_whole = is_whole and redis.call('HEXISTS', entry_key(name), 'removed') == 1
  end
  if is_whole then
    redis.call('HDEL', schedule, version)
    for _, name in ipairs(names) do
      redis.call('EXPIRE', entry_key(name), FORGET_S)
    end
  end
end
if redis.call('EXISTS', schedule) == 0 then
  redis.call('SREM', schedules, args.service)
end
return 'done'
