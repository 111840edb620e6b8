-- wake.lua: wake consumers that wait, for jobs that others than we have put on queues.
-- KEYS   nothing
-- ARGS   queues
--        queues: [name, …]
-- REPLY  for how many jobs nobody waits
-- USES   offers

local jobs = 0
for _, name in ipairs(args.queues) do
  local queue = queue_key(name)
  local waiting = redis.pcall('LLEN', queue) -- pcall: it may hold something else
  local turns = redis.pcall('ZCARD', turns_key(name))
  waiting = (type(waiting) == 'number' and waiting or 0) + (type(turns) == 'number' and turns or 0)
  if waiting > 0 then
    jobs = jobs + wake(queue, waiting)
  end
end
return jobs
