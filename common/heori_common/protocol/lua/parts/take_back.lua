-- take_back.lua: what was told to a consumer and is not confirmed in time goes to the next one.
-- The consumer was killed, frozen or cut off just before. It has not begun the job, or finds that its
-- lease is lost: so the delivery does not count.
-- ARGS   service, come_back_s
--        come_back_s: seconds that consumers get to come back, when all may have been cut off; else 0
-- USES   now_us, queue_names, end_lease, offers

local MOST_TAKEN_BACK = 100 -- in one call

-- Returns how many hand-overs and wake-ups it were.
local function take_back_overdue()
  local handed = handed_key(args.service)
  local now_text_us = string.format('%.0f', now_us)
  local overdue = redis.pcall('ZRANGEBYSCORE', handed, '-inf', now_text_us, 'LIMIT', 0, MOST_TAKEN_BACK)
  if overdue.err then
    return 0
  end
  for _, told in ipairs(overdue) do
    if args.come_back_s > 0 then
      redis.call('ZADD', handed, string.format('%.0f', now_us + args.come_back_s * 1000000), told)
    else
      redis.call('ZREM', handed, told)
      local _, _, name, jobs = unpack(cmsgpack.unpack(told))
      local queue, wip, failed = queue_key(name), wip_key(name), failed_key(name)
      for n = #jobs - 1, 1, -2 do -- the first of them last, as each goes to the front
        end_lease(queue, wip, failed, jobs[n], jobs[n + 1], false, false)
      end
      if #jobs == 0 then
        wake(queue, jobs_waiting(name))
      end
    end
  end
  return args.come_back_s > 0 and 0 or #overdue
end
