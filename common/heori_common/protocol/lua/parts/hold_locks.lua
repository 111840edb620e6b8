-- hold_locks.lua: give a request all locks that it asks for.
-- ARGS   id, records, lease_us
--        records: for each lock the beginning of the request's record, see lock_record.lua
-- USES   now_us, lock_hold

-- Returns the fence when it is one lock, else msgpack [now_us, 'held', [fence, …]]: the leases end when
-- args.lease_us is over.
--   found: 'mine' at the number of each lock that it holds already
local function hold_locks(found)
  local fences, lease_end_us = {}, now_us + args.lease_us
  for n, lock in ipairs(KEYS) do
    if found[n] == 'mine' then
      fences[n] = cmsgpack.unpack(redis.call('HGET', lock, args.id))[FENCE]
      redis.call('ZADD', holders_key(lock), lease_end_us, args.id)
    else
      local fence = next_fence()
      note_holder(lock, args.id, args.records[n] .. cmsgpack.pack(now_us, fence, false), lease_end_us)
      fences[n] = fence
    end
  end
  return #fences == 1 and fences[1] or cmsgpack.pack({ now_us, 'held', fences })
end
