-- now_text.lua: the time in seconds as text, in a result and where a score keeps microseconds.
-- USES   now_s

local now_text = string.format('%.6f', now_s)
