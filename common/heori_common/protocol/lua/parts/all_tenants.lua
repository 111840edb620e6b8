-- all_tenants.lua: which tenants there are.
-- USES   queue_names, tenants

-- The names of all tenants, by the key of the queue whose tenants they are.
local function all_tenants(queues)
  local found = {}
  local known = redis.pcall('SMEMBERS', queues)
  for _, queue in ipairs(known.err and {} or known) do
    local tenant = tenant_of(queue)
    if tenant then
      local of = whole_name(queue)
      found[of] = found[of] or {}
      table.insert(found[of], tenant)
    end
  end
  return found
end
