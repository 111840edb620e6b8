-- queue_names.lua: the name of a queue, and the keys of its tenants' own queues.

-- The inverse of queue_key.
local function queue_name(queue)
  return string.sub(queue, #queue_key('') + 1)
end

-- The key of that kind for a tenant of the queue: in all of them the name of the queue comes last.
local function of_tenant(key, tenant)
  return key .. TENANT .. tenant
end

-- The queue whose tenant's this is; or that queue itself. By name as well as by key.
local function whole_name(name)
  local at = string.find(name, TENANT, 1, true)
  return at and string.sub(name, 1, at - 1) or name
end
