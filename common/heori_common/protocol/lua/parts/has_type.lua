-- has_type.lua: whether a key is of the type that it should be, since anyone may have written it.

-- True for a key that holds nothing yet, too.
local function has_type(kind, key)
  local found = redis.call('TYPE', key).ok
  return found == kind or found == 'none'
end
