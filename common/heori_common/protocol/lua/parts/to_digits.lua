-- to_digits.lua: large whole numbers, such as microseconds, as text.

-- Lua writes 1.79e+15 where Redis' strings need every digit.
local function to_digits(number)
  return string.format('%.0f', number)
end
