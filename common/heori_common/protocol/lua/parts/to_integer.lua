-- to_integer.lua: whole numbers from a job's hash, where anyone may have written anything.

-- The number, or `default` for what Redis would refuse where it wants a whole number, such as
-- '1.5', 'nan' or thirty digits: one job must not stop the batch it is in.
local function to_integer(value, default)
  return value and #value <= 10 and string.match(value, '^%-?%d+$') and tonumber(value) or default
end
