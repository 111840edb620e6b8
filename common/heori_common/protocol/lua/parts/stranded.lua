-- stranded.lua: jobs that stand nowhere, as whoever took them off their list has died. They go back to
-- their queue once they have been seen so for a while: a stock worker may be about to begin them.
-- ARGS   stranded_s
--        stranded_s: for which a job may stand nowhere
-- USES   now_s, now_text, read_fields, arrivals

local SEEN_S = 24 * 3600 -- for which rq remembers when it saw a popped job first

-- The names of its executions: those that are recorded, and the last one of ours.
local function executions_of(id)
  local names = redis.pcall('ZRANGE', executions_key(id), 0, -1)
  names = names.err and {} or names
  names[#names + 1] = read_fields(job_key(id), 'heori_execution').heori_execution
  return names
end

-- Notes that it is seen to stand nowhere; returns whether it has been for too long.
local function is_stranded(name, id)
  local seen = first_seen_key(name, id)
  return not redis.call('SET', seen, now_text, 'NX', 'EX', SEEN_S)
    and now_s - (tonumber(redis.pcall('GET', seen)) or 0) > args.stranded_s
end

local function put_back(name, id)
  local queue = queue_key(name)
  redis.call('HSET', job_key(id), 'status', 'queued', 'started_at', '', 'worker_name', '')
  redis.call('LPUSH', queue, id)
  redis.call('DEL', first_seen_key(name, id))
  jobs_arrived(queue, 1)
end
