-- resume.lua: pause something no more: what has waited goes back to its queue, and consumers are woken.
-- Jobs of a task go back the latest first, to the front of their queues: so they stand there in order,
-- however many calls it takes. Should nobody call again, the reaper gives them back.
-- KEYS   nothing
-- ARGS   what, most
--        what: the field in the hash of pauses; most: jobs to look at
-- REPLY  [whether it was paused, how many jobs went back, whether others are left]
-- FULL   passes
-- USES   queue_names, tenants, has_type, read_fields, arrivals, offers, jobs_waiting

local was_paused = redis.call('HDEL', paused_key(), args.what)

local function resume_task(task)
  local line = paused_jobs_key(task)
  local ids = redis.call('ZRANGE', line, 0, args.most - 1, 'REV')
  local back = {}
  local moved = 0
  for _, id in ipairs(ids) do
    local job = job_key(id)
    local found = read_fields(job, 'status', 'origin', 'heori_paused')
    local origin = found.origin or ''
    local queue = queue_key(origin)
    if found.status == 'deferred' and found.heori_paused == task and has_type('list', queue) then
      redis.call('LPUSH', queue, id)
      redis.call('HSET', job, 'status', 'queued')
      redis.call('HDEL', job, 'heori_paused')
      redis.pcall('ZREM', deferred_key(origin), id) -- pcall: it may hold something else
      redis.pcall('ZREM', parked_key(origin), id)
      back[queue] = (back[queue] or 0) + 1
      moved = moved + 1
    end
  end
  if #ids > 0 then
    redis.call('ZREM', line, unpack(ids))
  end
  for queue, jobs in pairs(back) do
    jobs_arrived(queue, jobs)
  end
  return { was_paused, moved, #ids == args.most and 1 or 0 }
end

local function resume_queue(name)
  local whole = whole_name(name)
  if whole ~= name and redis.call('EXISTS', queue_key(name)) == 1 then
    join_turns(queue_key(name))
  end
  wake(queue_key(name), jobs_waiting(name))
  return { was_paused, 0, 0 }
end

local kind, name = string.match(args.what, '^(%a+):(.*)$')
if kind == 'task' then
  return resume_task(name)
end
return resume_queue(name)
