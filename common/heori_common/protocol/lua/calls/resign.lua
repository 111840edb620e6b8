-- resign.lua: let go of what this consumer was elected for.
-- KEYS   lock (string), …
-- ARGS   consumer
-- REPLY  how many it held
-- FULL   passes

local released = 0
for _, lock in ipairs(KEYS) do
  if redis.pcall('GET', lock) == args.consumer then
    released = released + redis.call('DEL', lock)
  end
end
return released
