-- hold_locks.lua: give a request all locks that it asks for.
-- ARGS   id, owner, about, wake, limits, lease_us
-- USES   now_us, to_digits, lock_hold

-- Returns msgpack [now_us, 'held', lease_end_us, [fence, …]].
--   found: 'mine' at the number of each lock that it holds already
local function hold_locks(found)
  local fences, lease_end_us = {}, now_us + args.lease_us
  for n, lock in ipairs(KEYS) do
    local record
    if found[n] == 'mine' then
      record = cmsgpack.unpack(redis.call('HGET', lock, args.id))
      redis.call('ZADD', holders_key(lock), to_digits(lease_end_us), args.id)
    else
      local limit = args.limits[n]
      record = lock_record(args.owner, args.wake, limit, args.lease_us, args.about, 0, 0, false)
      add_holder(lock, args.id, record, next_fence(), lease_end_us)
    end
    fences[n] = record[FENCE]
  end
  return cmsgpack.pack({ now_us, 'held', lease_end_us, fences })
end
