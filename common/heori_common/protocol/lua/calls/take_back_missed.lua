-- take_back_missed.lua: take back what was handed to a consumer that has not heard of it.
-- Its connection broke just then. What comes late all the same is not begun: see hand_overs.py.
-- KEYS   nothing
-- ARGS   service, tokens
--        tokens: [of an offer of this consumer's that was taken, …]
-- REPLY  how many hand-overs and wake-ups were taken back
-- FULL   passes
-- USES   take_back

local handed = handed_key(args.service)
local missed = {}
for _, token in ipairs(args.tokens) do
  missed[token] = true
end
local taken_back = 0
for _, told in ipairs(redis.pcall('ZRANGE', handed, 0, -1)) do -- pcall: it may hold something else
  local token = read_told(told)
  if token and missed[token] then
    redis.call('ZREM', handed, told)
    take_back(told)
    taken_back = taken_back + 1
  end
end
return taken_back
