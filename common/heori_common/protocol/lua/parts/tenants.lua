-- tenants.lua: the tenants of a queue. Each has its jobs in an RQ queue of its own, `queue@tenant`,
-- and those whose jobs wait take turns.
-- Whose turn it is stands in the zset `queue@`: beside the queue, so that whoever has the key of a
-- list finds it. It is fq_codel's rule (RFC 8290, 4.2), with jobs in place of bytes. A score below 0
-- is a newcomer's: so many jobs it may have yet before all others, among newcomers whoever has had
-- fewest. Any other score is how many jobs a tenant has had, about: fewest come first. A newcomer
-- that has no more jobs stays for that round, as an old one: coming and going gains nothing.
-- Jobs of no tenant are one more, by the name of '', and never a newcomer.

local TURN = 16 -- jobs of a newcomer, and at most of anyone in one go

-- The tenant whose queue that is, and the key of the turns; nil for a queue of no tenant.
local function tenant_of(queue)
  local turns, tenant = string.match(queue, '^([^@]*@)(.+)$')
  return tenant, turns
end

-- Whatever puts a job on a queue calls this after it.
local function join_turns(queue)
  local tenant, turns = tenant_of(queue)
  if tenant then
    redis.pcall('ZADD', turns, 'NX', -TURN, tenant) -- pcall: should it hold something else, the reaper says so
  end
end

-- The keys of the queues of all tenants, by the key of the queue that is theirs.
local function all_tenants(queues)
  local found = {}
  local known = redis.pcall('SMEMBERS', queues)
  for _, queue in ipairs(known.err and {} or known) do
    local tenant, turns = tenant_of(queue)
    if tenant then
      local of = string.sub(turns, 1, -2)
      found[of] = found[of] or {}
      table.insert(found[of], tenant)
    end
  end
  return found
end
