-- read_fields.lua: some fields of a hash, by their names.

-- Returns {name = value, …} without those that are not there; an empty table when the key holds
-- something else.
local function read_fields(key, ...)
  local values = redis.pcall('HMGET', key, ...)
  local found = {}
  for n, value in ipairs(values) do
    found[select(n, ...)] = value or nil
  end
  return found
end
