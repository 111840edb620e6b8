-- enqueue.lua: write jobs as rq 3.0.0 writes them and put them on their queue, or, when they are to run
-- later, among its scheduled jobs; a consumer that waits for jobs gets them at once. Takes as many, from
-- the first on, as the queue's limit lets in; what is scheduled is not limited, neither now nor when it is
-- due.
-- Sending the same ids again changes nothing, so a producer may retry after a lost reply.
-- What a tenant sends is scheduled and counted with all jobs of the queue whose tenant it is; the
-- limit of that queue holds for each of its tenants alone.
-- KEYS   queues (set), queue (list), scheduled (zset), bound (hash), whole queue (list), own bound (hash);
--        and to drop jobs: failed (zset), dropped (list)
--        whole queue: of whose tenants this queue is one's, or the same; own bound: that of this queue,
--        by which it is known how fast it is emptied
-- ARGS   jobs, origin, delay_s, at_s, front, key, cursor, full, rare
--        jobs: [[id, [field, value, …]], …], one or more, of which no two have the same id; the fields that
--        differ from job to job; of one that waits for others, or for which others wait, also who they are,
--        as send_flow.lua wants it
--        origin: the name of the queue
--        delay_s: from now; at_s: since 1970 in its place, or false
--        front: put them at the front of the queue
--        key: false, or [idempotency key (string), ttl_s] of the one job
--        cursor: false, or [key (string), number of the first job from 0, ttl_s]: the key says
--        how many jobs of a long row are in, and moves with them; those are not taken again
--        full: what to do at the limit: ['reject'], ['block', ticket, its lease_ms]
--        or ['drop_oldest', {what drop_oldest.lua wants}]
--        rare: false, or what few jobs ask for: {expires_s: from now, or expires_at_s: since 1970: they are not
--        to begin later; call: of the one job, as same_calls knows it: where that waits or runs already, it is
--        not sent again; latest: but while it is scheduled, the job that is there becomes this one, for later}
-- REPLY  how many were new, when all were taken; else msgpack [how many were taken, id of the job
--        that was sent in its place or false, depth, limit, ticket ahead in the line or false,
--        jobs a second that leave the queue]
-- FULL   is refused
-- USES   now_s, rq_time, to_integer

local FORGET_S = 60 -- then it is not known any more how fast a tenant's queue is emptied

local queues, queue, scheduled, bound, whole_queue, own_bound, failed, dropped = unpack(KEYS)
local due_s = args.at_s or now_s + args.delay_s
local later = due_s > now_s
-- A key that does not hold what it should is told of before anything is written.
local depth = redis.call('LLEN', queue)
if later then
  redis.call('ZCARD', scheduled)
end
if args.key then
  local same = redis.call('GET', args.key[1])
  if same and same ~= args.jobs[1][1] then
    return cmsgpack.pack({ 1, same, depth, 0, false, 0 })
  end
end

local rare -- what is needed for what few jobs ask for
local function make_rare()
  -- USES   rare_sends
  return { in_place_of = in_place_of, note_call = note_call, add_expiry = add_expiry }
end

local replaced
if args.rare then
  rare = make_rare()
  local same, is_replaced = rare.in_place_of(args.jobs[1][1], scheduled)
  if same and not is_replaced then
    return cmsgpack.pack({ 1, same, depth, 0, false, 0 })
  end
  replaced = same
  for _, job in ipairs(args.jobs) do
    rare.add_expiry(job[2])
  end
end

local flows -- likewise, for the first job that waits for others, or for which others wait
local function make_flows()
  -- USES   flows, send_flow
  return { stays_away = stays_away, note_flow = note_flow, cancel_rest = cancel_rest }
end

local position, skip = 0, 0
if args.cursor then
  position = to_integer(redis.call('GET', args.cursor[1]), 0)
  skip = math.min(#args.jobs, math.max(0, position - args.cursor[2]))
end

-- What is needed for a queue with a limit: most have none.
local function make_bounds()
  -- USES   drain_rate, drop_oldest, waiting_producers
  return { drain_rate = drain_rate, drop_oldest = drop_oldest, ticket_ahead = ticket_ahead, take_place = take_place }
end

local policy, detail, lease_ms = unpack(args.full)
if policy == 'drop_oldest' then
  redis.call('LLEN', dropped)
end
local waits = policy == 'block' and detail ~= '' -- it has come before, and has a place
local ticket = waits and detail or args.jobs[1][1]
local limit, rate, before, room = 0, 0, false, #args.jobs
local bounds
if not later then
  limit = to_integer(redis.call('HGET', bound, 'limit'), 0)
  if limit > 0 then
    bounds = make_bounds()
    rate = bounds.drain_rate(own_bound, depth)
    if policy ~= 'drop_oldest' then
      before = bounds.ticket_ahead(args.origin, ticket)
      room = before and 0 or math.max(0, limit - depth)
    end
  end
end

redis.call('SADD', queues, queue)
if whole_queue ~= queue then
  redis.call('SADD', queues, whole_queue)
end
if replaced then
  args.jobs[1][1] = replaced
  redis.call('DEL', job_key(replaced))
end
local keys = {}
for n, job in ipairs(args.jobs) do
  keys[n] = job_key(job[1])
end
local are_new = redis.call('EXISTS', unpack(keys)) == 0
-- A plain job that is sent alone, and whose hash is still to be written: where it is handed over at once,
-- that is done with the claim. Nothing else reads it before.
local unwritten
local function is_plain(fields)
  return not args.rare and #fields == 8 and fields[1] == 'data' and fields[3] == 'description'
    and fields[5] == 'timeout'
end
local ids, scores, taken, deferred = {}, {}, 0, 0
for n, job in ipairs(args.jobs) do
  local id, fields, flow = unpack(job)
  local key = keys[n]
  if n > skip and (are_new or redis.call('EXISTS', key) == 0) then
    if flow then
      flows = flows or make_flows()
    end
    if #ids == room and not (flow and flows.stays_away(flow)) then
      break
    end
    local waits, fails = false, false
    if flow then
      waits, fails = flows.note_flow(id, flow)
    end
    if waits then
      if args.front then
        fields[#fields + 1] = 'enqueue_at_front'
        fields[#fields + 1] = 1
      end
      redis.call('ZADD', deferred_key(args.origin), now_s, id)
    elseif later then
      scores[#scores + 1] = string.format('%.6f', due_s)
      scores[#scores + 1] = id
      if args.front then
        fields[#fields + 1] = 'enqueue_at_front'
        fields[#fields + 1] = 1
      end
    else
      fields[#fields + 1] = 'enqueued_at'
      fields[#fields + 1] = now_iso
    end
    -- rq.job.Job.to_dict without its empty fields: rq's readers take them alike when they are not there.
    -- By that claim_job.lua knows that nobody has run it.
    if #args.jobs == 1 and not (later or flow) and is_plain(fields) then
      unwritten = { 'created_at', now_iso, 'origin', args.origin, unpack(fields) }
    else
      redis.call('HSET', key, 'status', waits and 'deferred' or later and 'scheduled' or 'queued', 'created_at',
        now_iso, 'origin', args.origin, unpack(fields))
    end
    if waits then
      deferred = deferred + 1
    else
      ids[#ids + 1] = id
    end
    if fails then
      flows.cancel_rest(id, args.origin)
    end
  end
  taken = taken + 1
end

-- Whether there is anybody to tell of the jobs: a consumer that waits, or a tenant's turn. Mostly there
-- is not, and what it takes to tell them need not be made. Returns also the services, if it has asked.
local function is_awaited()
  local services = queue == whole_queue and redis.pcall('ZRANGE', services_key(args.origin), 0, -1)
  if not services or services.err then
    return true
  end
  for _, service in ipairs(services) do
    if redis.call('EXISTS', offers_key(service)) == 1 then
      return true, services
    end
  end
  return false
end

local function tell_of_arrivals(jobs)
  -- USES   arrivals
  jobs_arrived(queue, jobs)
end

-- Hands jobs to consumers that wait; returns the ids of the others.
local function hand_over_first(services)
  -- USES   hand_over
  local new
  if unwritten then
    local sent = args.jobs[1][2]
    new = { { sent[2], 'queued', string.format('%.0f', sent[6]), now_iso }, unwritten }
  end
  return hand_over(queue, ids, services, new)
end

-- Returns how many wait there now.
local function put_on_queue()
  -- Where jobs wait already, or take turns, a claim says who is next.
  local awaited, services = is_awaited()
  local left = awaited and depth == 0 and queue == whole_queue and hand_over_first(services) or ids
  if #left == 0 then
    return depth
  end
  if unwritten then
    redis.call('HSET', keys[1], 'status', 'queued', unpack(unwritten))
  end
  if args.front then
    local reversed = {}
    for n = #left, 1, -1 do
      reversed[#reversed + 1] = left[n]
    end
    redis.call('LPUSH', queue, unpack(reversed))
  else
    redis.call('RPUSH', queue, unpack(left))
  end
  if awaited then
    tell_of_arrivals(#left)
  end
  return depth + #left
end

local depth_now = depth
if #ids > 0 then
  if later then
    redis.call('ZADD', scheduled, unpack(scores))
  else
    depth_now = put_on_queue()
  end
  if rare then
    rare.note_call(ids[1])
  end
end
if args.key and #ids + deferred > 0 then
  redis.call('SET', args.key[1], args.jobs[1][1], 'EX', args.key[2])
end
if args.cursor and args.cursor[2] + taken > position then
  redis.call('SET', args.cursor[1], args.cursor[2] + taken, 'EX', args.cursor[3])
end
if limit > 0 then
  local over = depth_now - limit
  if #ids > 0 then
    redis.pcall('HINCRBY', bound, 'sent', #ids) -- pcall: a spoilt counter refuses no job
  end
  if own_bound ~= bound then
    redis.pcall('HINCRBY', bound, 'seen_gone', #ids) -- it was not sent to that queue itself
    redis.pcall('HINCRBY', own_bound, 'sent', #ids)
    redis.pcall('EXPIRE', own_bound, FORGET_S)
  end
  if policy == 'drop_oldest' and over > 0 then
    redis.pcall('HINCRBY', bound, 'dropped', bounds.drop_oldest(detail, queue, failed, dropped, over))
  elseif policy == 'block' and (taken < #args.jobs or waits) then
    if bounds.take_place(args.origin, ticket, lease_ms) then
      redis.pcall('HINCRBY', bound, 'blocked', 1)
    end
  elseif taken < #args.jobs then
    redis.pcall('HINCRBY', bound, 'rejected', #args.jobs - taken)
  end
end
if taken < #args.jobs then
  return cmsgpack.pack({ taken, false, depth_now, limit, before, rate })
elseif replaced then
  return cmsgpack.pack({ 1, replaced, depth, 0, false, 0 })
end
return #ids + deferred
