-- ask_for_locks.lua: take all of some locks at once, or wait for the first that is not to be had.
-- Sending the same request again changes nothing but its lease: so it is also how a waiter looks
-- what has become of its request, and how one that was passed over comes back with its ticket.
-- While it waits it holds none of the locks.
-- ARGS   id, owner, about, wake, limits, lease_us, ticket, wait, deadlock
--        about: who asks, for people; wake: channel on which a grant is told, or false: it looks
--        limits: [permits, or false for a mutex, …] for each lock
--        ticket: the one it had, or false
--        wait: whether to; deadlock: 'raise', 'warn' or 'off'
-- USES   now_us, to_digits, lock_record, lock_handover, lock_deadlock, hold_locks

-- Returns 'mine', 'free' (to be had before all who wait) or 'full', and when the first lease of it ends.
local function state_of(lock, limit)
  local first = redis.call('ZRANGE', holders_key(lock), 0, 0, 'WITHSCORES')
  if first[1] and tonumber(first[2]) <= now_us then
    expire_holders(lock)
    first = redis.call('ZRANGE', holders_key(lock), 0, 0, 'WITHSCORES')
  end
  if not first[1] then
    return 'free'
  end
  if first[1] == args.id or limit and redis.call('ZSCORE', holders_key(lock), args.id) then
    return 'mine'
  end
  local free = limit and redis.call('EXISTS', waiters_key(lock)) == 0
    and redis.call('ZCARD', holders_key(lock)) < limit_of(lock, limit)
  return free and 'free' or 'full', tonumber(first[2])
end

-- Returns msgpack [now_us, 'held', lease_end_us, [fence, …]], [now_us, 'busy'],
-- [now_us, 'deadlock', cycle] (it does not wait), or [now_us, 'waiting', ticket, how many are
-- before it, first_end_us, cycle or false].
--   first_end_us: when the first holder's lease ends; cycle: [[owner, about, lock], …]
local function ask_for_locks()
  local found, missing, first_end_us = {}, nil, nil
  for n, lock in ipairs(KEYS) do
    local end_us
    found[n], end_us = state_of(lock, args.limits[n])
    if found[n] == 'full' and not missing then
      missing, first_end_us = n, end_us
    end
  end

  if not missing then
    return hold_locks(found)
  end
  for n, lock in ipairs(KEYS) do
    if found[n] == 'mine' and remove_holder(lock, args.id) then
      grant_to_waiters(lock)
    end
  end
  if not args.wait then
    return cmsgpack.pack({ now_us, 'busy' })
  end
  local lock, limit = KEYS[missing], args.limits[missing]
  local ticket, cycle = redis.call('ZSCORE', waiters_key(lock), args.id), false
  if not ticket then
    cycle = args.deadlock ~= 'off' and deadlock(args.owner, args.about, lock, limit)
    if cycle and args.deadlock == 'raise' then
      return cmsgpack.pack({ now_us, 'deadlock', cycle })
    end
    local last = redis.call('ZRANGE', waiters_key(lock), -1, -1, 'WITHSCORES')[2] or 0
    ticket = args.ticket or math.max(now_us, last + 1)
    redis.call('ZADD', waiters_key(lock), to_digits(ticket), args.id)
    local since_us = now_us
    local record = lock_record(args.owner, args.wake, limit, args.lease_us, args.about, since_us, 0, false)
    redis.call('HSET', lock, args.id, cmsgpack.pack(record))
    redis.call('HSET', lock_waits_key(), args.owner, cmsgpack.pack({ lock, args.id }))
  else
    local record = read_record(lock, args.id)
    if record and record[WAKE] ~= args.wake then -- it has got, or lost, the right to hear of it
      record[WAKE] = args.wake
      redis.call('HSET', lock, args.id, cmsgpack.pack(record))
    end
  end
  return cmsgpack.pack({ now_us, 'waiting', tonumber(ticket),
    redis.call('ZRANK', waiters_key(lock), args.id), first_end_us, cycle })
end
