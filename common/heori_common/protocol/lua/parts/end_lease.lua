-- end_lease.lua: end a lease without a result and give its job back.
-- ARGS   failure_ttl_s, unreadable
--        unreadable: the failure of a job whose key holds no hash
-- USES   now_text, has_type, end_job, executions, requeue

-- Returns 'queued', 'dead' or 'gone' as requeue does, 'lost' when there is no such lease, or
-- 'kept' when a key of the queue has the wrong type: the job stays where it is, under its lease,
-- and is given back when the key has been mended.
local function end_lease(queue, wip, failed, id, execution, counted, failure, evidence)
  local readable = has_type('hash', job_key(id))
  local may_fail = counted or not readable
  if not has_type('list', queue) or may_fail and not has_type('zset', failed) then
    return 'kept'
  end
  -- pcall: when wip is no zset any more, the execution in the job's hash still tells whose it is
  if redis.pcall('ZREM', wip, id .. ':' .. execution) == 0 then
    return 'lost'
  end
  forget_execution(id, execution)
  if readable then
    return requeue(queue, failed, id, execution, counted, failure, evidence)
  end
  -- Nothing is left that could run. It fails where RQ's tools look, rather than vanish.
  local score = end_job(id, execution, 'failed', args.failure_ttl_s, now_text, { 'exc_string', args.unreadable })
  redis.call('ZADD', failed, score, id)
  return 'dead'
end
