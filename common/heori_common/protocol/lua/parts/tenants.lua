-- tenants.lua: the tenants of a queue. Each has its jobs in an RQ queue of its own, `queue@@tenant`,
-- and those whose jobs wait take turns.
-- The zset `queue@@` says whose turn it is; it stands beside the queue, so that it is found by the key
-- of the list alone. The rule is fq_codel's (RFC 8290, 4.2), with jobs in place of bytes. A score below
-- 0 is a newcomer's: so many jobs it may have yet before all others, and of several newcomers the one
-- that has had fewest. Any other score is about how many jobs a tenant has had, divided by its
-- weight: fewest come first. A
-- newcomer that has no more jobs stays for that round, as an old one: coming and going gains nothing.
-- Jobs of no tenant count as one more tenant, by the name of '', which is never a newcomer.
-- USES   queue_names

local MOST_IN_A_TURN = 16 -- jobs of a newcomer, and of any tenant in one go

-- The tenant that has this queue, and the key of the turns; nil for a queue of no tenant.
local function tenant_of(queue)
  local first, last = string.find(queue, TENANT, 1, true)
  if first and last < #queue then
    return string.sub(queue, last + 1), string.sub(queue, 1, last)
  end
end

-- Gives a tenant its turn. Everything that puts a job on a queue calls this after it.
local function join_turns(queue)
  local tenant, turns = tenant_of(queue)
  if tenant then
    redis.pcall('ZADD', turns, 'NX', -MOST_IN_A_TURN, tenant) -- pcall: the reaper tells if it is no zset
  end
end
