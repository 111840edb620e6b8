-- same_call.lua: whether a call that is to be sent waits or runs already. What says so is the status of that
-- job itself, so that nothing has to be released, however it ends; janitors strike what is over.

local function is_over(status)
  return not status or status == 'finished' or status == 'failed' or status == 'stopped' or status == 'canceled'
end

-- Returns the id of the job that a call was sent as last, and its status; or nothing, where that is over.
--   call: how same_calls knows it
local function same_call(call)
  local id = redis.call('HGET', same_calls_key(), call)
  local status = id and redis.call('HGET', job_key(id), 'status')
  if not is_over(status) then
    return id, status
  end
end
