-- lock_overdue.lua: locks whose holder's lease is over and for which nobody has asked since.
-- USES   now_us, lock_record, lock_handover

-- Takes them from these holders, and hands them on; returns how many locks there were.
--   spares_jobs: as for expire_holders
local function sweep_overdue(most, spares_jobs)
  local overdue = redis.call('ZRANGEBYSCORE', locks_key(), '-inf', now_us, 'LIMIT', 0, most)
  for _, lock in ipairs(overdue) do
    -- pcall: a key that holds something else has taken the lock with it
    pcall(expire_holders, lock, spares_jobs)
    local first = redis.pcall('ZRANGE', holders_key(lock), 0, 0, 'WITHSCORES')
    if first[2] then
      redis.call('ZADD', locks_key(), first[2], lock)
    else
      redis.call('ZREM', locks_key(), lock)
    end
  end
  return #overdue
end
