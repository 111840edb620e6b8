-- wake.lua: tell consumers that wait of jobs that others than we have put on queues. What stands first is
-- handed over, and for the rest they are woken.
-- KEYS   nothing
-- ARGS   queues
--        queues: [name, …]
-- REPLY  for how many jobs nobody waits
-- FULL   passes
-- USES   queue_names, offers, jobs_waiting

local MOST_HANDED = 64 -- jobs of a queue

local hand_over_first -- made for the first queue that has jobs for which somebody waits
local function make_hand_over_first()
  -- USES   hand_over

  -- Returns how many jobs were handed over.
  return function(queue, services)
    local ids = redis.pcall('LRANGE', queue, 0, MOST_HANDED - 1) -- pcall: it may hold something else
    local handed = ids.err and 0 or #ids - #hand_over(queue, ids, services)
    if handed > 0 then
      redis.call('LPOP', queue, handed)
    end
    return handed
  end
end

local none_waits = {} -- service to true: no offer comes while this runs, so of most queues none is asked again

-- The services of a queue that have consumers which wait, as far as it is known.
local function waiting_services(name)
  local found = {}
  local services = redis.pcall('ZRANGE', services_key(whole_name(name)), 0, -1) -- pcall: likewise
  for _, service in ipairs(services.err and {} or services) do
    if not none_waits[service] and redis.call('EXISTS', offers_key(service)) == 1 then
      found[#found + 1] = service
    else
      none_waits[service] = true
    end
  end
  return found
end

local jobs = 0
for _, name in ipairs(args.queues) do
  local queue = queue_key(name)
  local waiting = jobs_waiting(name)
  if waiting > 0 then
    local services = waiting_services(name)
    -- Where tenants take turns, a claim says whose it is.
    if #services > 0 and whole_name(name) == name and redis.call('EXISTS', turns_key(name)) == 0 then
      hand_over_first = hand_over_first or make_hand_over_first()
      waiting = waiting - hand_over_first(queue, services)
    end
    jobs = jobs + wake(queue, waiting, nil, services)
  end
end
return jobs
