-- unlease.lua: end a lease without a result and give its job back.
-- Included by other scripts (see their USES line); it is never called by itself.
-- USES   whole, time, lock_clock, job_lock_keys, lock_state, tenants, lock_pass, let_go, clock, settle, give_back, holds

-- Returns 'queued', 'dead' or 'gone' as give_back does, 'lost' when there is no such lease, or
-- 'kept' when a key of the queue has the wrong type: the job stays where it is, under its lease,
-- and is given back when the key has been mended.
local function unlease(args, queue, wip, failed, id, execution, counted, failure, evidence)
  local readable = holds('hash', args.job_stem .. id)
  local may_fail = counted or not readable
  if not holds('list', queue) or may_fail and not holds('zset', failed) then
    return 'kept'
  end
  -- pcall: when wip is no zset any more, the execution in the job's hash still tells whose it is
  if redis.pcall('ZREM', wip, id .. ':' .. execution) == 0 then
    return 'lost'
  end
  if readable then
    return give_back(args, queue, failed, id, execution, counted, failure, evidence)
  end
  -- Nothing is left that could run. It fails where RQ's tools look, rather than vanish.
  local score = settle(args, id, execution, 'failed', args.failure_ttl, epoch, 'exc_string', args.unreadable)
  redis.call('ZADD', failed, score, id)
  return 'dead'
end
