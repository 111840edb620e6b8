-- jobs_waiting.lua: for how many jobs of a queue consumers may be woken.

-- How many jobs wait on a queue, at least: of each tenant that has any, one.
local function jobs_waiting(name)
  local jobs = 0
  for _, waiting in ipairs({ redis.pcall('LLEN', queue_key(name)), redis.pcall('ZCARD', turns_key(name)) }) do
    jobs = jobs + (type(waiting) == 'number' and waiting or 0) -- else the key holds something else
  end
  return jobs
end
