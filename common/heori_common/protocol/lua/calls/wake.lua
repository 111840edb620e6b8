-- wake.lua: tell consumers that wait of jobs that others than we have put on queues. What stands first is
-- handed over, and for the rest they are woken.
-- KEYS   nothing
-- ARGS   queues
--        queues: [name, …]
-- REPLY  for how many jobs nobody waits
-- FULL   passes
-- USES   queue_names, offers, jobs_waiting

local MOST_HANDED = 64 -- jobs of a queue

-- Returns how many jobs were handed over.
local function hand_over_first(queue)
  -- USES   hand_over
  local ids = redis.pcall('LRANGE', queue, 0, MOST_HANDED - 1) -- pcall: it may hold something else
  local handed = ids.err and 0 or #ids - #hand_over(queue, ids)
  if handed > 0 then
    redis.call('LPOP', queue, handed)
  end
  return handed
end

local jobs = 0
for _, name in ipairs(args.queues) do
  local queue = queue_key(name)
  local waiting = jobs_waiting(name)
  -- Where tenants take turns, a claim says whose it is.
  if waiting > 0 and whole_name(name) == name and redis.call('EXISTS', turns_key(name)) == 0 then
    waiting = waiting - hand_over_first(queue)
  end
  jobs = jobs + wake(queue, waiting)
end
return jobs
