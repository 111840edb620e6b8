-- undo_claim.lua: give back what a claim has taken whose reply was lost on the way.
-- KEYS   queues (set), then for each queue: queue (list), wip (zset), failed (zset)
-- ARGS   token
--        token: of that claim
-- REPLY  how many it had taken
-- FULL   passes
-- USES   has_type, queue_names, all_tenants, end_lease, our_leases

local taken = 0
local function undo(queue, wip, failed)
  if has_type('zset', wip) then -- else the claim has passed over this queue
    for _, lease in ipairs(our_leases(redis.call('ZRANGE', wip, 0, -1), args.token)) do
      end_lease(queue, wip, failed, lease.id, lease.execution, false, false)
      taken = taken + 1
    end
  end
end

local tenants = all_tenants(KEYS[1])
for first = 2, #KEYS, 3 do
  local queue, wip, failed = unpack(KEYS, first, first + 2)
  undo(queue, wip, failed)
  for _, tenant in ipairs(tenants[queue] or {}) do
    undo(of_tenant(queue, tenant), of_tenant(wip, tenant), of_tenant(failed, tenant))
  end
end
return taken
