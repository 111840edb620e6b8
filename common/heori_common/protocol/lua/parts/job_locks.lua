-- job_locks.lua: the locks that a job declares, and how it gives them up.
-- USES   lock_record, lock_handover

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
    locks[n] = { lock_key(entry[1], entry[2]), limit }
  end
  return #locks > 0 and locks or nil
end

-- Gives up what a job holds of these locks, and hands them on.
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
