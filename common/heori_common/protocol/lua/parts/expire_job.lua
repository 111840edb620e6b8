-- expire_job.lua: end a job that was not to begin any more at this time: it is cancelled, and says why.
-- USES   now_s, rq_time, job_locks, queue_names, rates, rate_limit, expire_canceled

-- Ends a job that was taken off its queue.
--   values: its fields, from read_claimable; expires_s: since 1970
local function expire_job(id, queue, values, expires_s)
  local job, whole_s = job_key(id), math.floor(expires_s)
  redis.call('HSET', job, 'status', 'canceled', 'ended_at', now_iso, 'worker_name', '', 'heori_execution', '',
    'heori_reason', 'expired: it was to begin before ' .. iso8601(whole_s, math.floor((expires_s - whole_s) * 1000000)))
  local canceled = canceled_key(queue_name(queue))
  redis.pcall('ZADD', canceled, expire_canceled(id, values[RESULT_TTL]), id) -- pcall: it is cancelled all the same
  if values[HEORI_LOCKS] then
    for _, want in ipairs(declared_locks(values[HEORI_LOCKS]) or {}) do
      release_job_locks(id, { want[1] })
    end
  end
  local line, rate = line_of(queue, values[HEORI_OPTIONS])
  if line and redis.call('ZREM', line, id) == 1 then -- others may have waited for this one
    local back, first = look_at_line(line)
    if first then
      note_due(whole_name(queue_name(queue)), rate.name, next_us(rate, back))
    end
  end
  local limit = values[RATE_LIMIT_KEY]
  if limit and limit ~= '' then
    free_slot(id, limit)
  end
end
