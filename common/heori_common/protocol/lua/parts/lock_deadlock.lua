-- lock_deadlock.lua: whether an owner that is about to wait would wait for itself.
-- ARGS   most_hops
-- USES   now_us, lock_record

-- The owners for whom a request for a lock waits: those of all its permits, since any of them that
-- goes on sets the waiter free. Nil when a permit is free, or will be without their doing.
--   held: all its holders and the ends of their leases, or false where they are not known yet
local function blockers(lock, limit, held)
  local owners = {}
  -- By rank, as Redis counts what it finds by score only when it has found it, in memory made for that.
  held = held or redis.call('ZRANGE', holders_key(lock), 0, -1, 'WITHSCORES')
  for n = 1, #held, 2 do
    if tonumber(held[n + 1]) > now_us then
      local record = read_record(lock, held[n])
      if not record then
        return nil -- somebody has deleted it
      end
      owners[#owners + 1] = record[OWNER]
    end
  end
  return #owners >= limit_of(lock, limit) and owners or nil
end

-- What an owner waits for: {its `about`, the lock or false, the owners in its way}. Nil when it does
-- not wait, or is dead.
local function wait_of(owner)
  local packed = redis.call('HGET', lock_waits_key(), owner)
  if not packed then
    local edge = redis.call('GET', owner_wait_key(owner))
    if not edge then
      return nil
    end
    local whom, about = unpack(cmsgpack.unpack(edge))
    return { about, false, { whom } }
  end
  local lock, id = unpack(cmsgpack.unpack(packed))
  local record = redis.call('ZSCORE', waiters_key(lock), id) and read_record(lock, id)
  if not record then
    return nil
  end
  if record[JOB] then
    if redis.pcall('HGET', record[JOB][2], 'status') ~= 'deferred' then
      return nil
    end
  elseif record[WAKE] and redis.call('PUBSUB', 'NUMSUB', record[WAKE])[2] == 0 then
    return nil
  end
  local whom = blockers(lock, record[LIMIT])
  return whom and { record[ABOUT], lock, whom }
end

-- Follows owner → lock → its holders, for at most `args.most_hops` steps. It is a deadlock if all owners
-- for whom `me` would wait, near and far, wait themselves, and one of them for something `me` holds.
-- Returns [[owner, about, lock or false], …], `me` first, or false.
--   lock, limit: of the lock for which it is about to wait; or false, and
--   whom_else: the owners for whom it waits instead
--   held: as for blockers
local function deadlock(me, about, lock, limit, whom_else, held)
  local first = whom_else
  if lock then
    first = blockers(lock, limit, held)
  end
  local cycle, whom = { { me, about, lock } }, { first }
  local seen = { [me] = true }
  local closed, hops = false, 0
  local n = 1
  while n <= #cycle do
    if not whom[n] then
      return false
    end
    for _, owner in ipairs(whom[n]) do
      hops = hops + 1
      if hops > args.most_hops then
        return false
      end
      if owner == me then
        -- A mutex is re-entered without asking: this is an earlier request that is being given up.
        -- Not if it is what its job has declared, though: that is held until the job's end.
        if n == 1 and lock and not limit and not redis.call('ZSCORE', holders_key(lock), me) then
          return false
        end
        closed = true
      elseif not seen[owner] then
        seen[owner] = true
        local next = wait_of(owner)
        if not next then
          return false
        end
        cycle[#cycle + 1] = { owner, next[1], next[2] }
        whom[#cycle] = next[3]
      end
    end
    n = n + 1
  end
  return closed and cycle
end
