-- pauses.lua: what is paused: queues, tenants of queues, tasks. A hash has them, each with the time since
-- when: `queue:orders`, `queue:orders@@acme`, `task:shop.send_mail`. Most of the time there is none, so
-- whoever asks looks first whether the hash is there.

-- Returns {of = {what = since, …}, any_task = whether any task is}.
local function read_pauses()
  local listed = redis.pcall('HGETALL', paused_key()) -- pcall: it may hold something else
  local pauses = { of = {}, any_task = false }
  for n = 1, listed.err and 0 or #listed, 2 do
    pauses.of[listed[n]] = listed[n + 1]
    pauses.any_task = pauses.any_task or string.sub(listed[n], 1, 5) == 'task:'
  end
  return pauses
end
