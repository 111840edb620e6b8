-- leader.lua: who leads a service. Its key holds how many consumers are registered, a space, and the
-- name of the leader. So standby consumers learn with one look how seldom they may look.

-- The leader's name, or nil; and the number.
local function leader_of(key)
  local found = redis.pcall('GET', key) -- pcall: it may hold something else; then nobody leads
  local consumers, name = string.match(type(found) == 'string' and found or '', '^(%d+) (.*)$')
  return name, tonumber(consumers)
end
