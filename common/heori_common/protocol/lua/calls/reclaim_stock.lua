-- reclaim_stock.lua: look after what stock workers of RQ leave behind when they die, where none may be left
-- that does.
-- - Jobs whose lease has run out are retried or fail, as RQ has it (rq 3.0.0, rq/registry.py,
--   StartedJobRegistry.cleanup).
--   One that has a callback for it, or webhooks, is claimed for a consumer that runs these first.
-- - Jobs that were popped and have not begun go back to their queue. RQ fails some of them (rq/intermediate_queue.py)
--   and forgets the others.
-- A lease stands as long as the record of its execution, too, which expires by the server's clock: the
-- score of a lease is by that of its worker, which may be another.
-- A queue that a stock worker looks after just now is passed over: it reads first, and writes later.
-- KEYS   nothing
-- ARGS   queues, most, mark, failure, failure_ttl_s, taker, token, lease_s, margin_s, most_taken
--        most: of each kind, in one queue
--        mark: how the name of an execution of ours begins; these have other rules
--        failure: of a job that was abandoned, encoded
--        taker: the consumer that runs callbacks, or '' for none; the next four are as in claim.lua
--        most_taken: for it, in this call
-- REPLY  msgpack [now_s, [id, …] that are retried, [id, …] that have failed, [id, …] that go back to their
--        queue, [ClaimReply, …]]
-- FULL   passes
-- USES   now_s, now_text, to_integer, has_type, read_fields, queue_names, end_job, forget_dependencies, retry,
--        rate_limit, executions, claim_job, stranded

local retried, failed_ids, returned, claims = {}, {}, {}, {}

-- Whether somebody holds a lease of a job that has not run out, other than that of this execution.
local function is_leased(wip, id, besides)
  for _, execution in ipairs(executions_of(id)) do
    local entry = id .. ':' .. execution
    local until_s = execution ~= besides and redis.call('ZSCORE', wip, entry)
    if until_s and (tonumber(until_s) > now_s or redis.call('EXISTS', execution_key(entry)) == 1) then
      return true
    end
  end
  -- rq 1 has no executions.
  return besides ~= '' and tonumber(redis.call('ZSCORE', wip, id) or 0) > now_s
end

local WAITS = { queued = true, created = true, [''] = true }

local function give_back(name, id)
  put_back(name, id)
  returned[#returned + 1] = id
end

-- Has the taker run what an abandoned job wants to be run, and end it.
local function hand_to_taker(q, name, wip, id)
  local job = job_key(id)
  local values = read_job_fields(job)
  local execution = args.token .. string.format('%04x', #claims)
  claims[#claims + 1] = note_claim(args.taker, id, job, execution, values, false, q - 1, '', false, 0)
  redis.call('HSET', job, 'heori_abandoned', execution) -- see requeue.lua
  redis.call('ZADD', wip, math.ceil(now_s + args.lease_s + args.margin_s), id .. ':' .. execution)
  redis.pcall('SADD', leased_key(), name) -- pcall: the reaper looks at all in turn as well
end

-- A job under a lease that has run out.
local function end_abandoned(name, queue, id, execution, found)
  local left = to_integer(found.retries_left, 0)
  if left > 0 then
    redis.call('HSET', job_key(id), 'heori_execution', '')
    retry_job(queue, scheduled_key(name), id, '', retry_interval(found.retry_intervals, left), left - 1)
    redis.call('HSET', job_key(id), 'ended_at', found.ended_at or '') -- nobody knows when that was
    retried[#retried + 1] = id
  else
    local ttl_s = to_integer(found.failure_ttl, args.failure_ttl_s)
    local score = end_job(id, execution, 'failed', ttl_s, now_text, { 'exc_string', args.failure })
    forget_dependencies(id, ttl_s)
    if score then
      redis.pcall('ZADD', failed_key(name), score, id) -- pcall: its key may hold something else
    end
    failed_ids[#failed_ids + 1] = id
  end
  if (found.rate_limit_key or '') ~= '' then
    free_slot(id, found.rate_limit_key)
  end
end

-- What has become of a job whose stock worker has died: 'asks' (for something to be run), 'ends', 'popped'
-- (it has not begun, and is on no list), or 'went on'.
local function fate_of_dead(name, queue, wip, id, execution, found)
  if not found.data or is_leased(wip, id, execution) then
    return 'went on'
  elseif found.status == 'started' then
    local asks = says(found.failure_callback_name) or says(found.webhooks)
    return asks and args.taker ~= '' and 'asks' or 'ends'
  end
  local is_listed = redis.call('LPOS', queue, id) or redis.pcall('LPOS', intermediate_key(name), id)
  return WAITS[found.status or ''] and not is_listed and 'popped' or 'went on'
end

local function look_at_lease(q, name, queue, wip, entry)
  local id, execution = string.match(entry, '^(.*):([^:]*)$')
  id, execution = id or entry, execution or ''
  if string.sub(execution, 1, #args.mark) == args.mark or redis.call('EXISTS', execution_key(entry)) == 1 then
    return
  end
  local found = read_fields(job_key(id), 'status', 'retries_left', 'retry_intervals', 'failure_ttl',
    'rate_limit_key', 'ended_at', 'failure_callback_name', 'webhooks', 'data')
  local fate = fate_of_dead(name, queue, wip, id, execution, found)
  if fate == 'asks' and #claims >= args.most_taken then
    return -- until the next look
  end
  redis.call('ZREM', wip, entry)
  forget_execution(id, execution)
  if fate == 'asks' then
    hand_to_taker(q, name, wip, id)
  elseif fate == 'ends' then
    end_abandoned(name, queue, id, execution, found)
  elseif fate == 'popped' then
    give_back(name, id)
  end
end

local function look_at_leases(q, name, queue, wip)
  local over = redis.call('ZRANGEBYSCORE', wip, 0, now_s, 'LIMIT', 0, args.most)
  for _, entry in ipairs(over) do
    look_at_lease(q, name, queue, wip, entry)
  end
end

local function look_at_popped(name, wip)
  local popped = intermediate_key(name)
  for _, id in ipairs(redis.call('LRANGE', popped, 0, args.most - 1)) do
    local found = read_fields(job_key(id), 'status', 'data')
    local waits = found.data and (WAITS[found.status or ''] or found.status == 'started')
    if not waits then
      redis.call('LREM', popped, 1, id)
      redis.call('DEL', first_seen_key(name, id))
    elseif not is_leased(wip, id, false) and is_stranded(name, id) then
      redis.call('LREM', popped, 1, id)
      give_back(name, id)
    end
  end
end

for q, name in ipairs(args.queues) do
  local queue, wip, popped = queue_key(name), wip_key(name), intermediate_key(name)
  if redis.call('EXISTS', wip, popped) > 0 and redis.call('EXISTS', cleaning_key(name)) == 0
    and has_type('list', queue) and has_type('zset', wip) and has_type('list', popped) then
    look_at_leases(q, name, queue, wip)
    look_at_popped(name, wip)
  end
end
return cmsgpack.pack({ now_s, retried, failed_ids, returned, claims })
