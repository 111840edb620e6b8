-- lock_acquire.lua: take all of some locks at once, or wait for the first that is not to be had.
-- Sending the same request again changes nothing but its lease: so it is also how a waiter looks
-- what has become of its request, and how one that was passed over comes back with its ticket.
-- While it waits it holds none of the locks.
-- KEYS   fence (string), locks (zset), waits (hash), then each lock (hash)
-- ARGS   id, owner, about, wake, limits, lease, ticket, wait, deadlock,
--        grant, hops, holders, waiters
--        about: who asks, for people; wake: channel on which a grant is told
--        limits: [permits, or false for a mutex, …] for each lock
--        lease: microseconds; grant: the same, of one who is handed a lock until he renews it
--        ticket: the one it had, or false
--        wait: whether to; deadlock: 'raise', 'warn' or 'off'
--        holders, waiters: what follows a lock's key to name these zsets
-- REPLY  msgpack [now, 'held', end of the lease, [fence, …]], [now, 'busy'],
--        [now, 'deadlock', cycle] (it does not wait), or [now, 'waiting', ticket, how many are before
--        it, when the first lease ends, cycle or false]; cycle: [[owner, about, lock], …]
-- USES   lock_keys, now_us, lock_record, lock_handover, lock_deadlock

-- Returns 'mine', 'free' (to be had before all who wait) or 'full'.
local function state_of(lock, limit)
  if redis.call('EXISTS', lock .. args.holders) == 0 then
    return 'free'
  end
  expire_holders(lock)
  if redis.call('ZSCORE', lock .. args.holders, args.id) then
    return 'mine'
  end
  local free = redis.call('EXISTS', lock .. args.waiters) == 0
    and redis.call('ZCARD', lock .. args.holders) < limit_of(lock, limit)
  return free and 'free' or 'full'
end

local found, missing = {}, nil
for n = 4, #KEYS do
  found[n] = state_of(KEYS[n], args.limits[n - 3])
  if found[n] == 'full' then
    missing = missing or n
  end
end

if not missing then
  local fences, lease_end = {}, now_us + args.lease
  for n = 4, #KEYS do
    local lock = KEYS[n]
    local record
    if found[n] == 'mine' then
      record = read_record(lock, args.id)
      redis.call('ZADD', lock .. args.holders, to_digits(lease_end), args.id)
    else
      record = { args.owner, args.wake, args.limits[n - 3], args.lease, args.about, now_us, 0, false }
      add_holder(lock, args.id, record, next_fence(), lease_end)
    end
    fences[#fences + 1] = record[FENCE]
  end
  return cmsgpack.pack({ now_us, 'held', lease_end, fences })
end

for n = 4, #KEYS do
  if found[n] == 'mine' and remove_holder(KEYS[n], args.id) then
    grant_to_waiters(KEYS[n])
  end
end
if not args.wait then
  return cmsgpack.pack({ now_us, 'busy' })
end
local lock, limit = KEYS[missing], args.limits[missing - 3]
local ticket, cycle = redis.call('ZSCORE', lock .. args.waiters, args.id), false
if not ticket then
  cycle = args.deadlock ~= 'off' and deadlock(args.owner, args.about, lock, limit)
  if cycle and args.deadlock == 'raise' then
    return cmsgpack.pack({ now_us, 'deadlock', cycle })
  end
  local last = redis.call('ZRANGE', lock .. args.waiters, -1, -1, 'WITHSCORES')[2] or 0
  ticket = args.ticket or math.max(now_us, last + 1)
  redis.call('ZADD', lock .. args.waiters, to_digits(ticket), args.id)
  redis.call('HSET', lock, args.id,
    cmsgpack.pack({ args.owner, args.wake, limit, args.lease, args.about, now_us, 0, false }))
  redis.call('HSET', WAITS, args.owner, cmsgpack.pack({ lock, args.id }))
end
local first = redis.call('ZRANGE', lock .. args.holders, 0, 0, 'WITHSCORES')
return cmsgpack.pack({ now_us, 'waiting', tonumber(ticket),
  redis.call('ZRANK', lock .. args.waiters, args.id), tonumber(first[2] or now_us), cycle })
