-- take_job_locks.lua: give a job all locks that it declares, or have it wait for the first that is
-- taken: in that lock's queue and in no slot, and holding none of them.
-- ARGS   consumer, host, pid, deadlock, look_again_s
-- USES   now_us, read_fields, queue_names, watched, lock_record, lock_hold, lock_handover, lock_deadlock,
--        job_locks

-- Whether a lock is 'mine' (it was handed to this job), 'free' or 'full'. A waiter behind the job's
-- own ticket does not keep it from a free lock.
local function state_of(lock, limit, request, ticket, queue)
  expire_holders(lock, function()
    return may_come_back(watched_since(watched_key(whole_name(queue_name(queue)))))
  end)
  if redis.call('ZSCORE', holders_key(lock), request) then
    return 'mine'
  end
  if redis.call('ZCARD', holders_key(lock)) >= limit_of(lock, limit) then
    return 'full'
  end
  local first = redis.call('ZRANGE', waiters_key(lock), 0, 0, 'WITHSCORES')
  local is_next = not first[1] or first[1] == request or ticket and ticket < tonumber(first[2])
  return is_next and 'free' or 'full'
end

local function wait_for_lock(lock, limit, id, ticket, record)
  local request = request_of_job(id)
  if not redis.call('ZSCORE', waiters_key(lock), request) then
    local last = redis.call('ZRANGE', waiters_key(lock), -1, -1, 'WITHSCORES')[2] or 0
    ticket = ticket or math.max(now_us, last + 1)
    redis.call('ZADD', waiters_key(lock), ticket, request)
  end
  record[LIMIT], record[SINCE_US] = limit, now_us
  redis.call('HSET', lock, request, cmsgpack.pack(record))
  redis.call('HSET', lock_waits_key(), record[OWNER], cmsgpack.pack({ lock, request }))
  local _, key, _, deferred, parked = unpack(record[JOB])
  -- Its ticket is its own for ever: whatever becomes of a delivery, it has asked first.
  redis.call('HSET', key, 'status', 'deferred', 'worker_name', '', 'heori_ticket', ticket or now_us)
  redis.call('HSETNX', key, 'heori_parked', now_us)
  local now_s = math.floor(now_us / 1000000)
  -- pcall: should a registry hold something else, the lock knows of the job
  redis.pcall('ZADD', deferred, now_s, id)
  redis.pcall('ZADD', parked, now_s + args.look_again_s, id)
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
--   wanted: what `declared_locks` returns; lease_end_us: of the job's lease
local function take_job_locks(id, key, queue, wanted, lease_end_us)
  local request = request_of_job(id)
  local asked = read_fields(key, 'heori_ticket', 'heori_parked')
  local ticket, since_us = tonumber(asked.heori_ticket), tonumber(asked.heori_parked)
  local states, missing = {}, nil
  for n, want in ipairs(wanted) do
    states[n] = state_of(want[1], want[2], request, ticket, queue)
    if states[n] == 'full' then
      missing = missing or n
    end
  end
  local name = queue_name(queue)
  local about = cmsgpack.pack({ args.host, args.pid, args.consumer, id })
  local owner, lease_us = request, lease_end_us - now_us
  local record = lock_record(owner, false, false, lease_us, about, 0, 0, false)
  if missing then
    local lock, limit = unpack(wanted[missing])
    record[ABOUT] = cmsgpack.pack({ '', 0, 'queue ' .. name, id })
    record[JOB] = { id, key, queue, deferred_key(name), parked_key(name) }
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
    add_holder(lock, request, record, fence, lease_end_us)
    held[n] = { lock, fence }
  end
  if not ticket then
    redis.call('HSET', key, 'heori_ticket', now_us)
  end
  if since_us then
    redis.call('HDEL', key, 'heori_parked')
  end
  return held, since_us and math.max(0, now_us - since_us) / 1000000 or 0
end
