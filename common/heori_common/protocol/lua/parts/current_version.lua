-- current_version.lua: which versions of the periodic entries of a service hold.
-- A version is what the code of one application has, named `application.digest`; an application is all
-- consumers with the same modules of tasks. They may have different code, as in a rolling deploy, and
-- each publishes its entries. Of those that a living consumer has, the one that appeared last holds.
-- So an old consumer that is started again meanwhile changes nothing, and a rollback holds as soon as
-- nobody has the newer version any more.
-- USES   now_s

local now_ms = math.floor(now_s * 1000)

-- Returns {version = [since_ms, [packed entry, …], [name of each, …]], …} of all that are published,
-- {application = version, …} of those that hold, and {version = true, …} of those that a living consumer has.
local function published(schedule, versions)
  local all, current, alive = {}, {}, {}
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', versions, string.format('(%.0f', now_ms), '+inf')) do
    alive[string.match(member, '^%S+')] = true
  end
  local fields = redis.call('HGETALL', schedule)
  for n = 1, #fields, 2 do
    local version, of = fields[n], cmsgpack.unpack(fields[n + 1])
    local application = string.match(version, '^[^.]*')
    local best = current[application]
    local lives, is_better = alive[version] or false, true
    if best then
      local best_lives = alive[best] or false
      is_better = lives and not best_lives or lives == best_lives
        and (of[1] > all[best][1] or of[1] == all[best][1] and version > best)
    end
    all[version] = of
    if is_better then
      current[application] = version
    end
  end
  return all, current, alive
end
