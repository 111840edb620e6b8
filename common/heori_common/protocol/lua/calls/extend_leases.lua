-- extend_leases.lua: extend the leases that are still held, and the jobs' locks with them; name those
-- that are lost.
-- KEYS   for each queue: wip (zset)
-- ARGS   leases, lease_s, margin_s, consumer
--        leases: [[queue number from 0, 'id:execution', id, [lock, …] or false, whether the execution is
--        recorded], …]
--        lease_s: from now; margin_s: by which a score in wip lies after the lease's end
-- REPLY  msgpack [[number of the lost lease from 0, …], [number of a lease whose job has lost a lock,
--        …]]
-- FULL   passes
-- USES   now_s, has_type

local sound = {}
for q, wip in ipairs(KEYS) do
  sound[q] = has_type('zset', wip) -- else whatever has overwritten it took the leases with it
end
local lost, unlocked = {}, {}
local score_s = math.ceil(now_s + args.lease_s + args.margin_s)
local lock_end_us = string.format('%.0f', (score_s - args.margin_s) * 1000000)

-- Whether the job still has all its locks; somebody may have released one by force.
local function extend_locks(id, locks)
  local all = true
  for _, lock in ipairs(locks) do
    -- pcall: a key that holds something else has taken the lock with it
    local held_until = redis.pcall('ZSCORE', holders_key(lock), 'job:' .. id)
    if type(held_until) == 'string' then
      redis.call('ZADD', holders_key(lock), lock_end_us, 'job:' .. id)
    else
      all = false
    end
  end
  return all
end

local record -- made for the first execution that is recorded
local function make_record()
  -- USES   executions
  return note_execution
end

local come_back -- made for the first lease that is lost
local function make_come_back()
  -- USES   vanished
  return has_come_back
end

for n, lease in ipairs(args.leases) do
  local q = lease[1] + 1
  if sound[q] and redis.call('ZSCORE', KEYS[q], lease[2]) then
    redis.call('ZADD', KEYS[q], score_s, lease[2])
    if lease[4] and not extend_locks(lease[3], lease[4]) then
      unlocked[#unlocked + 1] = n - 1
    end
    if lease[5] then
      record = record or make_record()
      record(args.consumer, lease[3], string.match(lease[2], '[^:]*$'), args.lease_s)
    end
  else
    lost[#lost + 1] = n - 1
    come_back = come_back or make_come_back()
    come_back(lease[3], string.match(lease[2], '[^:]*$'))
  end
end
return cmsgpack.pack({ lost, unlocked })
