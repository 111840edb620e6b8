-- wake.lua: wake consumers that wait, for jobs that others than we have put on queues.
-- KEYS   nothing
-- ARGS   queues
--        queues: [name, …]
-- REPLY  for how many jobs nobody waits
-- FULL   passes
-- USES   offers, jobs_waiting

local jobs = 0
for _, name in ipairs(args.queues) do
  jobs = jobs + wake(queue_key(name), jobs_waiting(name))
end
return jobs
