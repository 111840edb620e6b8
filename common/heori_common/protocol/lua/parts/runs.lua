-- runs.lua: whether somebody works on a job, whatever its status says: rq lets one be cancelled while it runs.
-- USES   read_fields

local function has_lease(id, origin, execution)
  -- pcall: it may hold something else
  return type(redis.pcall('ZSCORE', wip_key(origin), id .. ':' .. execution)) == 'string'
end

-- Whether any execution of it has a lease.
local function runs(id)
  local found = read_fields(job_key(id), 'status', 'origin', 'heori_execution')
  local origin = found.origin or ''
  if found.status == 'started' or found.heori_execution and has_lease(id, origin, found.heori_execution) then
    return true
  end
  local executions = redis.pcall('ZRANGE', executions_key(id), 0, -1)
  for _, execution in ipairs(executions.err and {} or executions) do
    if has_lease(id, origin, execution) then
      return true
    end
  end
  return false
end
