-- ended.lua: the word that is left of a job which has ended while others wait for it.
-- USES   now_s, read_fields

-- Where others wait for a job that ends, leaves word of it. The set of these stays until they are queued,
-- see dependents.lua, whatever becomes of the job. Returns the word, or false.
local function mark_ended(id, status, ttl_s)
  local dependents = dependents_key(id)
  if redis.call('EXISTS', dependents) == 0 then
    return false
  elseif status == 'finished' and read_fields(job_key(id), 'status').status == 'canceled' then
    if ttl_s > 0 then
      redis.call('EXPIRE', dependents, ttl_s)
    end
    return false -- RQ starts nothing for a job that was cancelled while it ran, and then finished
  end
  local mark = status .. ' ' .. ttl_s .. ' ' .. id
  redis.pcall('ZADD', ended_key(), now_s, mark) -- pcall: it may hold something else
  redis.call('PERSIST', dependents)
  return mark
end
