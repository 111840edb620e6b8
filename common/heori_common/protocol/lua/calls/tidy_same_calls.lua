-- tidy_same_calls.lua: strike the calls whose jobs are over or gone from those that are not to be sent again. It
-- is called again with the cursor of the last reply until that is '0'.
-- KEYS   same calls (hash)
-- ARGS   cursor, most
--        most: calls in one call, about
-- REPLY  msgpack [cursor, how many were struck]
-- FULL   passes
-- USES   same_call

local page = redis.pcall('HSCAN', unpack(KEYS), args.cursor, 'COUNT', args.most)
if page.err then
  return cmsgpack.pack({ '0', 0 }) -- it holds something else
end
local struck = 0
for n = 1, #page[2], 2 do
  local status = redis.pcall('HGET', job_key(page[2][n + 1]), 'status')
  if is_over(type(status) == 'string' and status) then
    struck = struck + redis.call('HDEL', KEYS[1], page[2][n])
  end
end
return cmsgpack.pack({ page[1], struck })
