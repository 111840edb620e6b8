-- read_options.lua: what few jobs ask for, in one field of their hash: a msgpack map, name to value.

local MOST_OPTIONS_BYTES = 65536 -- nobody knows what is in the field, and to read it takes time

-- Returns {name = value, …}, or nil when the field says nothing that has a meaning.
local function read_options(field)
  local ok, options = pcall(function()
    return #field <= MOST_OPTIONS_BYTES and cmsgpack.unpack(field)
  end)
  return ok and type(options) == 'table' and #options == 0 and options or nil
end
