-- take_back.lua: what was told to a consumer and is not confirmed in time goes to the next one.
-- The consumer was killed, frozen or cut off just before. It has not begun the job, or finds that its
-- lease is lost: so the delivery does not count.
-- USES   now_us, queue_names, end_lease, offers, jobs_waiting

local MOST_TAKEN_BACK = 100 -- in one call

-- The token of the offer, the name of the queue and the jobs that were told; nothing where anybody
-- else has written something.
local function read_told(told)
  local ok, read = pcall(cmsgpack.unpack, told)
  if ok and type(read) == 'table' and type(read[3]) == 'string' and type(read[4]) == 'table' then
    return read[2], read[3], read[4]
  end
end

local function take_back(told)
  local _, name, jobs = read_told(told)
  if not name then
    return
  end
  local queue, wip, failed = queue_key(name), wip_key(name), failed_key(name)
  for n = #jobs - 1, 1, -2 do -- the first of them last, as each goes to the front
    end_lease(queue, wip, failed, jobs[n], jobs[n + 1], false, false)
  end
  if #jobs == 0 then
    wake(queue, jobs_waiting(name))
  end
end

-- Returns how many hand-overs and wake-ups of a service were taken back, and in how many seconds the
-- next one is to be, or false.
local function take_back_overdue(service)
  local handed = handed_key(service)
  local first = redis.pcall('ZRANGE', handed, 0, MOST_TAKEN_BACK - 1, 'WITHSCORES')
  local taken_back = 0
  for n = 1, first.err and 0 or #first, 2 do -- where it holds something else, the leases run out
    local told, left_us = first[n], tonumber(first[n + 1]) - now_us
    if left_us > 0 then
      return taken_back, left_us / 1000000
    end
    redis.call('ZREM', handed, told)
    take_back(told)
    taken_back = taken_back + 1
  end
  return taken_back, false
end
