-- ask_for_locks.lua: take all of some locks at once, or wait for the first that is not to be had.
-- Sending the same request again changes nothing but its lease: so it is also how a waiter looks
-- what has become of its request, and how one that was passed over comes back with its ticket.
-- While it waits it holds none of the locks.
-- ARGS   id, records, ticket, wait, deadlock
--        records: for each lock the beginning of the request's record, see lock_record.lua
--        ticket: the one it had, or false
--        wait: whether to; deadlock: 'raise', 'warn' or 'off'
-- USES   now_us, lock_record, lock_handover, lock_deadlock, hold_locks

local function first_holder(lock)
  return redis.call('ZRANGE', holders_key(lock), 0, 0, 'WITHSCORES')
end

-- Returns 'mine', 'free' (to be had before all who wait) or 'full', and the first holder.
--   first: it, as it was read before in this call, or nil
local function state_of(lock, limit, first)
  first = first or first_holder(lock)
  if first[1] and tonumber(first[2]) <= now_us then
    expire_holders(lock)
    first = first_holder(lock)
  end
  if not first[1] then
    return 'free'
  end
  if first[1] == args.id or limit and redis.call('ZSCORE', holders_key(lock), args.id) then
    return 'mine'
  end
  local free = limit and redis.call('EXISTS', waiters_key(lock)) == 0
    and redis.call('ZCARD', holders_key(lock)) < limit_of(lock, limit)
  return free and 'free' or 'full', first
end

-- Returns what hold_locks does, or msgpack [now_us, 'busy'], [now_us, 'deadlock', cycle] (it does not
-- wait), or [now_us, 'waiting', ticket, how many are before it, first_end_us, cycle or false].
--   first_end_us: when the first holder's lease ends; cycle: [[owner, about, lock], …]
--   firsts: as first_holder has them, for those locks for which they are known
local function ask_for_locks(firsts)
  local waits = cmsgpack.pack(now_us, 0, false) -- how the record of one that waits goes on
  local records, found, missing, first = {}, {}, nil, nil
  for n, lock in ipairs(KEYS) do
    records[n] = cmsgpack.unpack(args.records[n] .. waits)
    local its_first
    found[n], its_first = state_of(lock, records[n][LIMIT], firsts[n])
    if found[n] == 'full' and not missing then
      missing, first = n, its_first
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
  local lock, mine = KEYS[missing], records[missing]
  local ticket, cycle = redis.call('ZSCORE', waiters_key(lock), args.id), false
  if not ticket then
    local holders = not mine[LIMIT] and first -- of a mutex, which has one
    cycle = args.deadlock ~= 'off' and deadlock(mine[OWNER], mine[ABOUT], lock, mine[LIMIT], nil, holders)
    if cycle and args.deadlock == 'raise' then
      return cmsgpack.pack({ now_us, 'deadlock', cycle })
    end
    local last = redis.call('ZRANGE', waiters_key(lock), -1, -1, 'WITHSCORES')[2] or 0
    ticket = args.ticket or math.max(now_us, last + 1)
    redis.call('ZADD', waiters_key(lock), ticket, args.id)
    redis.call('HSET', lock, args.id, args.records[missing] .. waits)
    redis.call('HSET', lock_waits_key(), mine[OWNER], cmsgpack.pack({ lock, args.id }))
  else
    local record = read_record(lock, args.id)
    if record and record[WAKE] ~= mine[WAKE] then -- it has got, or lost, the right to hear of it
      record[WAKE] = mine[WAKE]
      redis.call('HSET', lock, args.id, cmsgpack.pack(record))
    end
  end
  return cmsgpack.pack({ now_us, 'waiting', tonumber(ticket),
    redis.call('ZRANK', waiters_key(lock), args.id), tonumber(first[2]), cycle })
end
