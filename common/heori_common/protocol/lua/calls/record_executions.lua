-- record_executions.lua: record executions that have lasted for a while, where rq's tools look for them.
-- One that is over by now is left out.
-- KEYS   for each queue: wip (zset)
-- ARGS   executions, consumer, lease_s
--        executions: [[queue number from 0, id, execution], …]
-- REPLY  how many were recorded
-- FULL   passes
-- USES   executions

local recorded = 0
for _, each in ipairs(args.executions) do
  local q, id, execution = unpack(each)
  -- pcall: it may hold something else
  if type(redis.pcall('ZSCORE', KEYS[q + 1], id .. ':' .. execution)) == 'string' then
    note_execution(args.consumer, id, execution, args.lease_s)
    recorded = recorded + 1
  end
end
return recorded
