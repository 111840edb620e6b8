-- arrivals.lua: what follows when jobs were put on a queue.
-- USES   tenants, offers

-- Everything that puts jobs on a queue calls this after it.
--   avoid: names of consumers that are to be woken last, each between line ends, or nil
local function jobs_arrived(queue, jobs, avoid)
  join_turns(queue)
  wake(queue, jobs, avoid)
end
