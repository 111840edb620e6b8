-- lock_release.lua: give up a request, whatever has become of it, and hand its locks to the next.
-- KEYS   each lock (hash)
-- ARGS   id, are_mutexes
--        are_mutexes: whether all of them are, so that each has one holder
-- REPLY  how many they were, when all were held; else msgpack ['held', 'waiting' or 'gone', …]: what each was
-- FULL   passes

local rare -- what is done with a lock for which anybody waits, or that others hold, too
local function make_rare()
  -- USES   lock_record, lock_handover
  return {
    read_record = read_record, remove_waiter = remove_waiter,
    grant_to_waiters = grant_to_waiters, pass_mutex = pass_mutex,
  }
end

local function hand_over(lock)
  local next_id = args.are_mutexes and redis.call('ZPOPMIN', waiters_key(lock))[1]
  if next_id then
    rare = rare or make_rare()
    rare.pass_mutex(lock, next_id)
  elseif args.are_mutexes or redis.call('EXISTS', holders_key(lock), waiters_key(lock)) == 0 then
    redis.call('ZREM', locks_key(), lock)
  else
    rare = rare or make_rare()
    rare.grant_to_waiters(lock)
  end
end

local was, held = {}, 0
for n, lock in ipairs(KEYS) do
  was[n] = 'gone'
  if redis.call('ZREM', holders_key(lock), args.id) == 1 then
    was[n] = 'held'
    held = held + 1
    redis.call('HDEL', lock, args.id)
    hand_over(lock)
  else
    rare = rare or make_rare()
    local record = rare.read_record(lock, args.id)
    if record then
      was[n] = 'waiting'
      rare.remove_waiter(lock, args.id, record)
      redis.call('HDEL', lock, args.id)
    end
  end
end
return held == #KEYS and held or cmsgpack.pack(was)
