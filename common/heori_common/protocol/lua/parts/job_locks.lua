-- job_locks.lua: end what a job holds of its locks, and pass them on.
-- USES   lock_handover

-- Whom others wait for when they wait for a job, and the request by which it has its locks. One for
-- all its deliveries: whoever has lost the lease of its execution is refused before.
local function request_of_job(id)
  return 'job:' .. id
end

-- Returns [[lock, limit or false], …] of what a job's field says, or nil when it says nothing that
-- has a meaning.
local function declared_locks(field)
  local ok, listed = pcall(cjson.decode, field)
  if not ok or type(listed) ~= 'table' then
    return nil
  end
  local locks = {}
  for n, entry in ipairs(listed) do
    if type(entry) ~= 'table' or type(entry[1]) ~= 'string' or type(entry[2]) ~= 'string'
      or type(entry[3]) ~= 'number' then
      return nil
    end
    local limit = entry[3] > 0 and entry[3]
    locks[n] = { args.lock_stem .. '{' .. entry[1] .. ':' .. entry[2] .. '}', limit }
  end
  return #locks > 0 and locks or nil
end

--   locks: [lock, …]
local function release_job_locks(id, locks)
  for _, lock in ipairs(locks) do
    -- pcall: a lock whose keys hold something else must not keep the job from its end
    pcall(function()
      if remove_holder(lock, request_of_job(id)) then
        grant_to_waiters(lock)
      end
    end)
  end
end
