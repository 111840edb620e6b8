-- told_by.lua: which service tells of something, where several could: a key holds its name.
-- ARGS   service, lease_ms
--        lease_ms: for which it is the one that does, unless its consumers are gone

-- Whether this service is the one, or has become it.
local function is_to_tell(key)
  local holder = redis.pcall('GET', key)
  if type(holder) == 'table' then
    return false -- it holds something else, and nobody tells
  elseif holder and holder ~= args.service and redis.call('EXISTS', leader_key(holder)) == 1 then
    return false
  end
  redis.call('SET', key, args.service, 'PX', args.lease_ms)
  return true
end
