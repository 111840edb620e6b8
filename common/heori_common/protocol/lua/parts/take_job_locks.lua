-- take_job_locks.lua: give a job all locks that it declares, or have it wait for the first that is not to be
-- had: in that lock's queue and in no slot, and holding none of them.
-- USES   now_us, lock_record, lock_handover, lock_deadlock, job_locks

-- Whether a lock is 'mine' (it was passed on to this job), 'free' or 'full'. What waits behind the
-- job's own ticket does not keep it from a free one.
local function state_of(lock, limit, request, ticket)
  expire_holders(lock)
  if redis.call('ZSCORE', lock .. args.holders, request) then
    return 'mine'
  end
  if redis.call('ZCARD', lock .. args.holders) >= limit_of(lock, limit) then
    return 'full'
  end
  local first = redis.call('ZRANGE', lock .. args.waiters, 0, 0, 'WITHSCORES')
  local is_next = not first[1] or first[1] == request or ticket and ticket < tonumber(first[2])
  return is_next and 'free' or 'full'
end

local function wait_for_lock(lock, limit, id, ticket, record)
  local request = request_of_job(id)
  if not redis.call('ZSCORE', lock .. args.waiters, request) then
    local last = redis.call('ZRANGE', lock .. args.waiters, -1, -1, 'WITHSCORES')[2] or 0
    ticket = ticket or math.max(now_us, last + 1)
    redis.call('ZADD', lock .. args.waiters, to_digits(ticket), request)
  end
  record[LIMIT], record[SINCE] = limit, now_us
  redis.call('HSET', lock, request, cmsgpack.pack(record))
  redis.call('HSET', WAITS, record[OWNER], cmsgpack.pack({ lock, request }))
  local _, key, _, deferred, parked = unpack(record[JOB])
  -- Its ticket is its own for ever: whatever becomes of a delivery, it has asked first.
  redis.call('HSET', key, 'status', 'deferred', 'worker_name', '', 'heori_ticket', to_digits(ticket or now_us))
  redis.call('HSETNX', key, 'heori_parked', to_digits(now_us))
  -- pcall: should a registry hold something else, the lock knows of the job
  redis.pcall('ZADD', deferred, math.floor(now_us / 1000000), id)
  redis.pcall('ZADD', parked, math.floor(now_us / 1000000) + args.look, id)
end

local function owner_name(about)
  local ok, host, pid, name, job = pcall(function()
    return unpack(cmsgpack.unpack(about))
  end)
  return not ok and 'somebody' or job ~= '' and 'job ' .. job
    or name .. ' (pid ' .. string.format('%.0f', pid) .. ' on ' .. host .. ')'
end

local function describe_cycle(cycle)
  local steps = {}
  for n, step in ipairs(cycle) do
    local _, about, lock = unpack(step)
    local following = cycle[n % #cycle + 1]
    local kind, name = string.match(lock or '', '{([^:]*):(.*)}$')
    steps[n] = owner_name(about) .. ' waits for ' .. (kind and kind .. ' ' .. name or owner_name(following[2]))
  end
  return 'its wait for a lock would never end (deadlock): ' .. table.concat(steps, '; ')
end

-- Returns [[lock, fence], …] and for how many seconds it waited when it holds them all; false when
-- it waits; nil and why when it can do neither.
--   wanted: as `declared` returns it
--   lease_end: microseconds, that of the job's lease
local function take_job_locks(id, key, queue, wanted, lease_end)
  local request = request_of_job(id)
  local asked = redis.call('HMGET', key, 'heori_ticket', 'heori_parked')
  local ticket, since = tonumber(asked[1]), tonumber(asked[2])
  local states, missing = {}, nil
  for n, want in ipairs(wanted) do
    states[n] = state_of(want[1], want[2], request, ticket)
    if states[n] == 'full' then
      missing = missing or n
    end
  end
  local name = string.sub(queue, #args.queue_stem + 1)
  local about = cmsgpack.pack({ args.host, args.pid, args.consumer, id })
  local record = { request, false, false, lease_end - now_us, about, now_us, 0, false }
  if missing then
    local lock, limit = unpack(wanted[missing])
    local job = { id, key, queue, args.deferred_stem .. name, args.parked_stem .. name }
    record[ABOUT] = cmsgpack.pack({ '', 0, 'queue ' .. name, id })
    record[JOB] = job
    local cycle = args.deadlock == 'raise' and deadlock(request, record[ABOUT], lock, limit)
    for n, want in ipairs(wanted) do
      if states[n] == 'mine' and remove_holder(want[1], request) then
        grant_to_waiters(want[1])
      end
    end
    if cycle then
      return nil, describe_cycle(cycle)
    end
    wait_for_lock(lock, limit, id, ticket, record)
    return false
  end
  local held = {}
  for n, want in ipairs(wanted) do
    local lock, limit = unpack(want)
    remove_waiter(lock, request, record)
    record[LIMIT] = limit
    local fence = next_fence()
    add_holder(lock, request, record, fence, lease_end)
    held[n] = { lock, fence }
  end
  if not ticket then
    redis.call('HSET', key, 'heori_ticket', to_digits(now_us))
  end
  if since then
    redis.call('HDEL', key, 'heori_parked')
  end
  return held, since and math.max(0, now_us - since) / 1000000 or 0
end
