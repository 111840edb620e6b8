-- forget_dependencies.lua: what is left of a wait when its job is over.

-- What a job waited for is known no longer than the job.
local function forget_dependencies(id, ttl_s)
  local dependencies, inputs = dependencies_key(id), inputs_key(id)
  if ttl_s == 0 then
    redis.call('DEL', dependencies, inputs)
  elseif ttl_s > 0 then
    redis.call('EXPIRE', dependencies, ttl_s)
    redis.call('EXPIRE', inputs, ttl_s)
  end
end
