-- tidy.lua: take out of Redis what is of no use to anybody and has no TTL that ends it. One consumer is
-- elected for it, and calls it again and again with the cursor of the last reply until that is '0'; so
-- Redis is never kept for long, however many queues there are.
-- - Consumers and stock workers that are registered and have no record any more: they were killed.
-- - Entries of registries whose time is over, also of queues that nobody serves.
-- - Ids of jobs that have expired in a queue that nobody serves; elsewhere a claim drops them.
-- - Jobs that wait for no other any more, but were not put on their queue: the stock worker that was to do
--   it has died, or another came in between.
-- - Queues, those of tenants among them, that are empty and that nobody serves. They are not listed any
--   more when that has been so for a while. All of our scripts that put a job on a queue list it. So
--   does rq, a moment before; so there is a second look at each as long after, and it is listed
--   again if a job has come in just that moment.
-- KEYS   janitor (string), queues (set), workers (set), idle (zset)
-- ARGS   consumer, interval_ms, cursor, most_queues, most_struck, forget_s, record_ttl_s, thorough
--        interval_ms: after the last call, in which nobody else is elected
--        cursor: of the last reply; '0' to begin, for which this consumer has to be elected
--        most_queues: to look at in one call, about; most_struck: entries, in all of them
--        forget_s: until a queue is not listed any more
--        thorough: whether to look who is dead of those that serve a queue, in which there is nothing,
--        though none was found among all
--        record_ttl_s: of a worker's record that has none: its worker died while it was written
-- REPLY  nil when another consumer is elected; else msgpack [cursor, how many dead consumers were
--        struck, how many queues are not listed any more, the names of queues in which jobs wait for others]
-- FULL   passes
-- USES   now_s, rq_time, has_type, read_fields, queue_names, tenants, arrivals, expire_canceled, strike_expired,
--        ready

local BUSY_S = 5 -- for which somebody may yet be about to put a job on its queue
local SAMPLE = 20 -- names, of which many are dead when a quarter is

local janitor, queues, workers, idle = unpack(KEYS)
local room, dead, forgotten = args.most_struck, 0, 0
local deferring = {}

local is_new = args.cursor == '0' and redis.call('SET', janitor, args.consumer, 'NX', 'PX', args.interval_ms)
if not is_new and redis.pcall('GET', janitor) ~= args.consumer then
  return false
elseif not is_new then
  redis.call('PEXPIRE', janitor, args.interval_ms)
end

-- Strikes names without a record, as rq's clean_worker_registry does. It looks at some of them, and at
-- more as long as many of these are dead: so Redis looks for what has expired.
local function strike_dead(names)
  local struck, many = 0, true
  while many and room > 0 do
    local sample, gone = redis.pcall('SRANDMEMBER', names, SAMPLE), {}
    for _, name in ipairs(sample.err and {} or sample) do
      local left_s = redis.call('TTL', name)
      if left_s == -2 then
        gone[#gone + 1] = name
      elseif left_s == -1 then
        redis.call('EXPIRE', name, args.record_ttl_s)
      end
    end
    if #gone > 0 then
      redis.call('SREM', names, unpack(gone))
    end
    struck, room = struck + #gone, room - #gone
    many = #gone > 0 and 4 * #gone >= #sample
  end
  return struck
end

-- Jobs that were cancelled by a tool of rq's, which sets no TTL, get theirs here; their score is the past.
local function strike_canceled(registry)
  local overdue = redis.pcall('ZRANGEBYSCORE', registry, '-inf', now_s, 'LIMIT', 0, math.max(0, room))
  for _, id in ipairs(overdue.err and {} or overdue) do
    local job = job_key(id)
    local found = read_fields(job, 'status', 'result_ttl')
    if found.status == 'canceled' and redis.call('TTL', job) == -1 then
      redis.call('ZADD', registry, expire_canceled(id, found.result_ttl), id)
    else
      redis.call('ZREM', registry, id)
    end
    room = room - 1
  end
end

local function drop_expired(queue)
  local id = redis.pcall('LINDEX', queue, 0)
  while type(id) == 'string' and room > 0 and redis.call('EXISTS', job_key(id)) == 0 do
    redis.call('LPOP', queue)
    room = room - 1
    id = redis.call('LINDEX', queue, 0)
  end
end

-- All keys of which one is there when something is left of a queue, but workers_of.
local function keys_of(queue)
  local name = queue_name(queue)
  return { queue, intermediate_key(name), wip_key(name), finished_key(name),
    failed_key(name), scheduled_key(name), deferred_key(name), ready_key(name), canceled_key(name),
    parked_key(name), turns_key(name), waiting_producers_key(name) }
end

local function is_forgettable(queue)
  local name = queue_name(queue)
  return redis.call('EXISTS', workers_of_key(name), unpack(keys_of(queue))) == 0
    and redis.pcall('HEXISTS', bound_key(name), 'limit') == 0
end

-- Whether a queue is served, and nothing else is there of it. One command, as most are so: EXISTS counts
-- a key as often as it is named.
local function only_served(queue)
  local keys = keys_of(queue)
  keys[#keys + 1] = dropped_key(queue_name(queue))
  local others = #keys
  for n = 1, others + 1 do
    keys[others + n] = workers_of_key(queue_name(queue))
  end
  return redis.call('EXISTS', unpack(keys)) == others + 1
end

local function look_after(queue)
  local name = queue_name(queue)
  local served_by = workers_of_key(name)
  if only_served(queue) then
    if not args.thorough and dead == 0 then
      return
    end
    strike_dead(served_by)
    if redis.call('EXISTS', served_by) == 1 then
      return
    end
  end
  if redis.call('EXISTS', deferred_key(name)) == 1 then
    deferring[#deferring + 1] = name
  end
  local whole = whole_name(name)
  strike_dead(served_by)
  room = room - strike_expired(finished_key(name), room)
  room = room - strike_expired(failed_key(name), room)
  strike_canceled(canceled_key(name))
  room = room - enqueue_ready(name, now_s - BUSY_S, math.max(0, room))
  if redis.call('EXISTS', failed_key(name)) == 0 then
    redis.call('UNLINK', dropped_key(name)) -- their jobs stood there
  end
  if redis.call('EXISTS', served_by, workers_of_key(whole)) == 0 then
    drop_expired(queue)
    if redis.call('EXISTS', queue) == 0 then
      local tenant, turns = tenant_of(queue)
      redis.pcall('ZREM', turns or turns_key(name), tenant or '')
    end
  end
  if is_forgettable(queue) then
    redis.pcall('ZADD', idle, 'NX', now_s, queue)
  end
end

local function forget(queue)
  local listed = redis.call('SISMEMBER', queues, queue) == 1
  if not is_forgettable(queue) then
    redis.call('SADD', queues, queue)
  elseif listed then
    redis.call('SREM', queues, queue)
    redis.call('ZADD', idle, now_s, queue)
    forgotten = forgotten + 1
    return
  else
    redis.call('UNLINK', bound_key(queue_name(queue)))
    redis.pcall('SREM', leased_key(), queue_name(queue)) -- whoever served it may have died before it looked
  end
  redis.call('ZREM', idle, queue)
end

if args.cursor == '0' then
  dead = strike_dead(workers)
end
-- pcall: these may hold something else, and then others tell
local to_forget = redis.pcall('ZRANGEBYSCORE', idle, '-inf', now_s - args.forget_s, 'LIMIT', 0, args.most_queues)
local page = redis.pcall('SSCAN', queues, args.cursor, 'COUNT', args.most_queues)
if page.err then
  return cmsgpack.pack({ '0', dead, forgotten, deferring })
end
for _, queue in ipairs(to_forget.err and {} or to_forget) do
  forget(queue)
end
for _, queue in ipairs(page[2]) do
  look_after(queue)
end
return cmsgpack.pack({ page[1], dead, forgotten, deferring })
