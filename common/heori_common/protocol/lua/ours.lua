-- ours.lua: the leases among a wip registry's entries that our consumers made.
-- Included by other scripts (see their USES line); it is never called by itself.

-- Those whose execution begins with `mark`, claimed last first: given back to the front of the
-- queue in this order, they stand there in the order in which they were claimed.
local function ours(entries, mark)
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
