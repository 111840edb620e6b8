-- find_lost.lua: whether a job stands nowhere, though it is to run or to stay. Jobs move: what is read
-- in several calls may be here in the first and there in the next.
-- KEYS   job (hash), queue (list), wip (zset), then all other registries of the queue (zset)
-- ARGS   id, queue
--        queue: its name
-- REPLY  the status of the job that stands nowhere, '' for none; nil for any other
-- FULL   only reads
-- USES   read_fields

local job, queue, wip = unpack(KEYS, 1, 3)
if redis.call('TTL', job) ~= -1 then
  return false -- it is gone, or will be: what expires is no loss
end
local found = read_fields(job, 'status', 'origin')
if not found.status and not found.origin or (found.origin or 'default') ~= args.queue then
  return false
end
-- pcall: what holds something else does not hold the job
if type(redis.pcall('LPOS', queue, args.id)) == 'number' then
  return false
end
for n = 3, #KEYS do
  if type(redis.pcall('ZSCORE', KEYS[n], args.id)) == 'string' then
    return false
  end
end
-- While it runs, an execution's name follows its id.
local pattern = string.gsub(args.id, '[%*%?%[%]\\]', '\\%0') .. ':*'
local cursor = '0'
repeat
  local page = redis.pcall('ZSCAN', wip, cursor, 'MATCH', pattern, 'COUNT', 1000)
  if page.err then
    break
  elseif #page[2] > 0 then
    return false
  end
  cursor = page[1]
until cursor == '0'
return found.status or ''
