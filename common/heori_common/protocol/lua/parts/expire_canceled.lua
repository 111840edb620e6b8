-- expire_canceled.lua: have a cancelled job expire as one that has finished does: nobody waits for it.
-- ARGS   result_ttl_s
-- USES   now_s, to_integer, ended

-- Returns the score with which the caller puts it among the cancelled: when it expires.
--   result_ttl: what the job says, or nil
local function expire_canceled(id, result_ttl)
  local ttl_s = to_integer(result_ttl, args.result_ttl_s)
  if ttl_s < 0 then
    mark_ended(id, 'canceled', ttl_s)
    return '+inf'
  end
  for _, key in ipairs({ job_key(id), dependents_key(id), dependencies_key(id), inputs_key(id) }) do
    redis.call('EXPIRE', key, ttl_s)
  end
  mark_ended(id, 'canceled', ttl_s) -- what waits for it is told
  return math.floor(now_s) + ttl_s
end
