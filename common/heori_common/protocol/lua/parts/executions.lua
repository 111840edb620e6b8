-- executions.lua: the records of executions, as rq 3.0.0 keeps them (rq/executions.py): a hash, and two
-- indexes that name it. They tell people what runs where, and keep the slot of a rate limit whose job was
-- cancelled while it ran. A job that is over at once has none.
-- USES   now_s, now_text

local MARGIN_S = 60 -- for which an index names an execution after its lease, as rq has it

-- Records an execution, or that it is still there. Its hash outlives what names it: rq's Job.delete raises
-- where an index names an execution without one.
local function note_execution(consumer, id, execution, lease_s)
  local entry, life_s = id .. ':' .. execution, math.ceil(lease_s) + MARGIN_S
  local hash, index, of_worker = execution_key(entry), executions_key(id), worker_executions_key(consumer)
  -- pcall: anyone may have written anything there, and the job runs all the same
  redis.pcall('HSETNX', hash, 'created_at', now_text)
  redis.pcall('HSET', hash, 'id', execution, 'job_id', id, 'last_heartbeat', now_text, 'worker_name', consumer)
  redis.call('EXPIRE', hash, life_s + 1)
  redis.pcall('ZADD', index, math.floor(now_s) + life_s, execution)
  redis.call('EXPIRE', index, life_s)
  redis.pcall('SADD', of_worker, entry)
  redis.call('EXPIRE', of_worker, life_s)
end

-- Takes an execution out that has ended, if it was recorded.
local function forget_execution(id, execution)
  if redis.pcall('ZREM', executions_key(id), execution) ~= 1 then
    return
  end
  local entry = id .. ':' .. execution
  local worker = redis.pcall('HGET', execution_key(entry), 'worker_name')
  redis.call('DEL', execution_key(entry))
  if type(worker) == 'string' then
    redis.pcall('SREM', worker_executions_key(worker), entry)
  end
end
