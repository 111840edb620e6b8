-- lock_release.lua: give up a request, whatever has become of it, and hand its locks to the next.
-- KEYS   each lock (hash)
-- ARGS   id
-- REPLY  msgpack ['held', 'waiting' or 'gone', …] for each lock: what it was
-- FULL   passes
-- USES   lock_record, lock_handover

local was = {}
for _, lock in ipairs(KEYS) do
  local fate = 'gone'
  if redis.call('ZREM', holders_key(lock), args.id) == 1 then
    fate = 'held'
    redis.call('HDEL', lock, args.id)
    grant_to_waiters(lock)
  else
    local record = read_record(lock, args.id)
    if record then
      fate = 'waiting'
      remove_waiter(lock, args.id, record)
      redis.call('HDEL', lock, args.id)
    end
  end
  was[#was + 1] = fate
end
return cmsgpack.pack(was)
