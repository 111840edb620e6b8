-- wake.lua: tell consumers that wait of jobs that others than we have put on queues. What stands first is
-- handed over, and for the rest they are woken.
-- KEYS   nothing
-- ARGS   queues
--        queues: [name, …]
-- REPLY  for how many jobs nobody waits
-- FULL   passes
-- USES   has_type, queue_names, offers, jobs_waiting

local MOST_HANDED = 64 -- jobs of a queue

local function hand_over_first(name)
  -- USES   hand_over
  local queue = queue_key(name)
  local ids = redis.call('LRANGE', queue, 0, MOST_HANDED - 1)
  local handed = #ids - #hand_over(queue, ids)
  if handed > 0 then
    redis.call('LPOP', queue, handed)
  end
end

local jobs = 0
for _, name in ipairs(args.queues) do
  local queue = queue_key(name)
  local waiting = jobs_waiting(name)
  -- Where tenants take turns, a claim says whose it is.
  if waiting > 0 and whole_name(name) == name and has_type('list', queue) and has_type('none', turns_key(name)) then
    hand_over_first(name)
    waiting = jobs_waiting(name)
  end
  jobs = jobs + wake(queue, waiting)
end
return jobs
