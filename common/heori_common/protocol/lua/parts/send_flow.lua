-- send_flow.lua: write down who waits for whom, when jobs of a flow are sent. Those that wait are sent before
-- those for which they wait. So nothing of a flow runs before all of it is there that does not begin it.
-- USES   now_s, flows

-- Whether a job does not go to its queue now: it waits for others, or is cancelled by how they have ended.
--   sent: as note_flow has it
local function stays_away(sent)
  local any_failed = false
  for _, other in ipairs(sent.after) do
    local status = status_of(other)
    if not ENDED[status] then
      return true
    end
    any_failed = any_failed or not (status == 'finished' or status == 'gone' and sent.gets == 'none')
  end
  return sent.holds or #sent.after > 0 and any_failed == not HANDLES_FAILURES[sent.gets]
end

-- Writes down for whom a job waits, and who waits for it. Returns whether it waits, and whether it never runs.
--   sent: {gets: as flow_of says, or false; holds: whether others are sent later for which it waits;
--   after: [id, …] of jobs that were sent before; into: [[id, place, whether it is the last one], …]}
local function note_flow(id, sent)
  for _, edge in ipairs(sent.into) do
    local dependent, place, is_last = unpack(edge)
    redis.call('SADD', dependents_key(id), dependent)
    redis.call('SADD', dependencies_key(dependent), id)
    redis.call('HSET', inputs_key(dependent), 'o' .. place, id)
    if is_last then
      redis.call('SREM', dependencies_key(dependent), dependent)
      redis.call('EXPIRE', inputs_key(dependent), KEPT_S)
    end
  end
  if sent.holds then
    redis.call('SADD', dependencies_key(id), id)
    redis.call('HSET', inputs_key(id), 'sent', math.floor(now_s))
  end
  local waits, fails = sent.holds, false
  for n, other in ipairs(sent.after) do
    local status = status_of(other)
    redis.call('HSET', inputs_key(id), 'o' .. n - 1, other)
    if status ~= 'finished' and status ~= 'gone' then
      redis.call('SADD', dependents_key(other), id)
    end
    if ENDED[status] then
      -- What waited for it is known as long as it is itself.
      local left_s = redis.call('TTL', job_key(other))
      note_end(id, sent.gets, other, status, left_s == -2 and KEPT_S or left_s)
      if left_s >= 0 then
        redis.call('EXPIRE', dependents_key(other), math.max(1, left_s))
      end
    else
      redis.call('SADD', dependencies_key(id), other)
      waits = true
    end
  end
  if #sent.after > 0 then
    fails = not waits and not is_wanted(id, sent.gets)
    if not (waits or fails) then
      redis.call('HSET', inputs_key(id), 'begun', '')
    end
  end
  return waits or fails, fails
end
