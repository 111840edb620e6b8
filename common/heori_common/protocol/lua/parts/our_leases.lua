-- our_leases.lua: the leases among a wip registry's entries that our consumers made.

-- Those whose execution begins with `mark`, claimed last first: given back to the front of the
-- queue in this order, they stand there in the order in which they were claimed.
local function our_leases(entries, mark)
  local found = {}
  for _, entry in ipairs(entries) do
    local id, execution = string.match(entry, '^(.*):([^:]*)$')
    if id and string.sub(execution, 1, #mark) == mark then
      found[#found + 1] = { entry = entry, id = id, execution = execution }
    end
  end
  table.sort(found, function(a, b) return a.execution > b.execution end)
  return found
end
