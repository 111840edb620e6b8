-- read_ended.lua: what the word says that ended.lua leaves of a job.

-- The inverse of mark_ended: how it has ended, how long it is kept, its id.
local function read_ended(mark)
  local status, ttl_s, id = string.match(mark, '^(%a+) (%-?%d+) (.*)$')
  return status, tonumber(ttl_s), id
end
