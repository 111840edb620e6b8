-- ask_consumers.lua: ask those who have claimed jobs whether a slot has begun these, and perhaps for
-- those that none has. What is asked for is marked: given back unbegun, it is cancelled.
-- KEYS   wip (zset)
-- ARGS   ids, recalls, kind
--        recalls: whether the jobs are asked for
--        kind: of the message, msgpack [kind, [id, …], recalls]
-- REPLY  msgpack [number of an id from 0 about which a consumer was asked, …]
-- FULL   passes
-- USES   read_fields

local asked = {}
local by_consumer = {} -- [{number, id, execution}, ...]
for n, id in ipairs(args.ids) do
  local found = read_fields(job_key(id), 'status', 'worker_name', 'heori_execution', 'heori_begun')
  local execution = found.heori_execution
  if found.status == 'started' and found.worker_name and execution and found.heori_begun ~= execution
    and type(redis.pcall('ZSCORE', KEYS[1], id .. ':' .. execution)) == 'string' then
    by_consumer[found.worker_name] = by_consumer[found.worker_name] or {}
    table.insert(by_consumer[found.worker_name], { n - 1, id, execution })
  end
end
for consumer, jobs in pairs(by_consumer) do
  local ids = {}
  for n, job in ipairs(jobs) do
    ids[n] = job[2]
  end
  -- Nobody hears it when the consumer is dead or cut off.
  if redis.call('PUBLISH', told_key(consumer), cmsgpack.pack({ args.kind, ids, args.recalls })) > 0 then
    for _, job in ipairs(jobs) do
      local number, id, execution = unpack(job)
      redis.call('HDEL', job_key(id), 'heori_begun') -- an answer to another question
      if args.recalls then
        redis.call('HSET', job_key(id), 'heori_recalled', execution)
      end
      asked[#asked + 1] = number
    end
  end
end
return cmsgpack.pack(asked)
