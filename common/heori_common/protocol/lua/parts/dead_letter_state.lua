-- dead_letter_state.lua: whether what stands in a failed registry is a dead letter.

-- A status that none of RQ's words describes is a damaged record, and belongs where it is.
local ELSEWHERE = { created = true, queued = true, deferred = true, scheduled = true,
  ready_to_enqueue = true, rate_limited = true, started = true, finished = true, canceled = true }

-- Returns 'dead', or why not: 'absent' (from the registry), 'gone' (there is no job of that id),
-- 'foreign' (its key holds no hash), 'elsewhere' (it waits, runs or has ended otherwise).
local function dead_letter_state(failed, id, job)
  if not redis.call('ZSCORE', failed, id) then
    return 'absent'
  end
  local kind = redis.call('TYPE', job).ok
  if kind ~= 'hash' then
    return kind == 'none' and 'gone' or 'foreign'
  end
  return ELSEWHERE[redis.call('HGET', job, 'status')] and 'elsewhere' or 'dead'
end
