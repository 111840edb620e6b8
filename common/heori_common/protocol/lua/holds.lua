-- holds.lua: whether a key is of the type that it should be, since anyone may have written it.
-- Included by other scripts (see their USES line); it is never called by itself.

-- True for a key that holds nothing yet, too.
local function holds(kind, key)
  local found = redis.call('TYPE', key).ok
  return found == kind or found == 'none'
end
