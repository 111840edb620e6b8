-- look_at_schedule.lua: what the leader of a service sends by its schedule, and since when.
-- What is new begins now, and so does what has got other times. An entry that is gone is forgotten, but
-- for a pause, should it come back. Of each entry it is noted how the last job has ended, which is
-- not known any more once that job has expired.
-- KEYS   schedules (set), schedule (hash), versions (zset)
-- ARGS   service, known, timings
--        known: the versions whose entries the caller has, or ''; timings: {name = text, …} of these
-- REPLY  msgpack [now_ms, the versions that hold and that a living consumer has, between spaces,
--        their entries, the newest version last, or false where they are known,
--        {name = [last_ms, whether it is paused], …} of those that are sent]
-- FULL   is refused
-- USES   now_s, current_version, read_fields

local FORGET_S = 30 * 86400 -- then it is not known any more that an entry was paused
local ENDED = { finished = true, failed = true, stopped = true, canceled = true }

local schedules, schedule, versions = unpack(KEYS)
local all, current, alive = published(schedule, versions)
local held = {} -- the oldest first
for _, version in pairs(current) do
  if alive[version] then
    held[#held + 1] = version
  end
end
table.sort(held, function(a, b)
  return all[a][1] < all[b][1] or all[a][1] == all[b][1] and a < b
end)

-- Forgets the versions that nobody has any more, and the entries that were only there.
local function forget_dead()
  local kept, left = {}, 0
  for application, version in pairs(current) do
    for _, name in ipairs(all[version][3]) do
      kept[name] = true
      left = left + 1
    end
  end
  for version, of in pairs(all) do
    if not alive[version] and current[string.match(version, '^[^.]*')] ~= version then
      redis.call('HDEL', schedule, version)
      for _, name in ipairs(of[3]) do
        local key = entry_key(name)
        if not kept[name] and redis.call('HSETNX', key, 'removed', 1) == 1 then
          redis.call('EXPIRE', key, FORGET_S)
        end
      end
    elseif #of[3] > 0 then
      left = left + 1
    end
  end
  if left == 0 then
    redis.call('DEL', schedule)
    redis.call('SREM', schedules, args.service)
  end
end

-- Returns the last tick, or nil when another service has a newer version of this entry.
local function adopt(key, timing, since_ms)
  local found = read_fields(key, 'last', 'timing', 'since', 'removed', 'job', 'outcome', 'paused')
  local last_ms = tonumber(found.last)
  if not last_ms or found.removed or found.timing ~= timing then
    if last_ms and not found.removed and (tonumber(found.since) or 0) > since_ms then
      return nil
    end
    last_ms = now_ms
    redis.call('HSET', key, 'last', string.format('%.0f', now_ms), 'timing', timing,
      'since', string.format('%.0f', since_ms))
    redis.call('HDEL', key, 'removed')
    redis.call('PERSIST', key)
  end
  if found.job and not found.outcome then
    local status = redis.pcall('HGET', job_key(found.job), 'status')
    if not status or ENDED[status] then
      redis.call('HSET', key, 'outcome', status or 'deleted')
    end
  end
  return last_ms, found.paused ~= nil
end

local holding = table.concat(held, ' ')
if holding ~= args.known then
  local entries = {}
  for _, version in ipairs(held) do
    for _, entry in ipairs(all[version][2]) do
      entries[#entries + 1] = entry
    end
  end
  return cmsgpack.pack({ now_ms, holding, entries, {} })
end
forget_dead()
local appeared_ms, states = {}, {}
for _, version in ipairs(held) do
  for _, name in ipairs(all[version][3]) do
    appeared_ms[name] = all[version][1]
  end
end
for name, timing in pairs(args.timings) do
  local last_ms, is_paused = adopt(entry_key(name), timing, appeared_ms[name])
  if last_ms then
    states[name] = { last_ms, is_paused }
  end
end
return cmsgpack.pack({ now_ms, holding, false, states })
