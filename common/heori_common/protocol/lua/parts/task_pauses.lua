-- task_pauses.lua: jobs of paused tasks, which wait apart for each task, by when they have come.
-- USES   set_aside

-- The task of a job, as its description begins: the payload is compressed.
local function task_of(id)
  local description = redis.pcall('HGET', job_key(id), 'description')
  return type(description) == 'string' and string.match(description, '^([^%s(]+)%(') or nil
end

-- Sets a job aside if its task is paused; returns whether it is.
local function wait_if_paused(id, queue, pauses)
  local task = task_of(id)
  if not task or not pauses.of['task:' .. task] then
    return false
  end
  local line = paused_jobs_key(task)
  redis.call('ZADD', line, string.format('%.0f', place_in(line)), id)
  set_aside(id, queue, 'heori_paused', task)
  return true
end
