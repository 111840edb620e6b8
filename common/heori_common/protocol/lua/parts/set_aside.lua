-- set_aside.lua: have a job wait in no slot and out of its queue's way, as RQ's tools may see it.
-- ARGS   look_again_s
-- USES   now_us, queue_names

--   queue: the key of its own queue; ...: field, value of its hash
local function set_aside(id, queue, ...)
  local name = queue_name(queue)
  redis.call('HSET', job_key(id), 'status', 'deferred', 'worker_name', '', ...)
  local now_s = math.floor(now_us / 1000000)
  redis.call('ZADD', deferred_key(name), now_s, id)
  redis.call('ZADD', parked_key(name), now_s + args.look_again_s, id)
end

local last_came = {} -- line to when the last of those came that wait in it

-- When a job comes to a line (a zset) that comes now: after all others, whatever the clock says.
local function place_in(line)
  local last = last_came[line] or tonumber(redis.call('ZRANGE', line, -1, -1, 'WITHSCORES')[2]) or 0
  last_came[line] = math.max(now_us, last + 1)
  return last_came[line]
end
