-- strike_expired.lua: strike from a registry the jobs whose time there is over, as rq's registries do
-- when a worker of its own looks after them (rq 3.0.0, rq/registry.py, cleanup): their keys expire,
-- these entries do not. What is kept for ever has a score below 0 among the failed ones.
-- USES   now_s

-- Returns how many it struck one by one, `most` at most.
local function strike_expired(registry, most)
  -- pcall: its key may hold something else; whoever writes to it says so
  local overdue = redis.pcall('ZCOUNT', registry, 0, now_s)
  if type(overdue) ~= 'number' or overdue == 0 then
    return 0
  elseif overdue == redis.call('ZCARD', registry) then
    redis.call('UNLINK', registry) -- takes no longer for many
    return 0
  end
  local struck = math.min(overdue, most)
  if struck > 0 then
    local kept = redis.call('ZCOUNT', registry, '-inf', '(0')
    redis.call('ZREMRANGEBYRANK', registry, kept, kept + struck - 1)
  end
  return struck
end
