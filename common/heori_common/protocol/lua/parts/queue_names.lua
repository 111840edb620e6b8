-- queue_names.lua: the name of a queue, and the keys of its tenants' own queues.

-- The inverse of queue_key.
local function queue_name(queue)
  return string.sub(queue, #queue_key('') + 1)
end

-- The key of that kind for a tenant of the queue: in all of them the name of the queue comes last.
local function of_tenant(key, tenant)
  return key .. '@' .. tenant
end
