-- vanished.lua: deliveries that ended with their lease, though their consumer may live.
-- A lease that has run out says only that its holder was not heard of. Its job may have killed it, so the
-- delivery counts. Once that holder is heard of again, it does not count any more. `heori_vanished` in the
-- hash of a job names these executions, each with a space before and after it.
-- USES   read_fields, to_integer

local MOST_NAMED = 1000 -- bytes, of those that vanished last

local function note_vanished(id, execution)
  local job = job_key(id)
  local before = read_fields(job, 'heori_vanished').heori_vanished or ' '
  redis.pcall('HSET', job, 'heori_vanished', string.sub(before .. execution .. ' ', -MOST_NAMED))
end

-- The holder of a lease that it has lost is heard of. May be told more than once.
local function has_come_back(id, execution)
  local job = job_key(id)
  local found = read_fields(job, 'status', 'heori_deliveries', 'heori_vanished')
  local named = found.heori_vanished or ''
  local first, last = string.find(named, ' ' .. execution .. ' ', 1, true)
  if first and found.status ~= 'failed' then -- what is told of a dead letter stays as it was
    redis.call('HSET', job, 'heori_vanished', string.sub(named, 1, first) .. string.sub(named, last + 1),
      'heori_deliveries', math.max(0, to_integer(found.heori_deliveries, 1) - 1))
  end
end
