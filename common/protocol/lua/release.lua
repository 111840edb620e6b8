-- release.lua: give back jobs that this consumer has claimed and will not finish.
-- KEYS   for each queue: queue (list), wip (zset), failed (zset)
-- ARGS   entries, consumer, job_stem, results_stem, max_deliveries, failure_ttl
--        entries: [[queue number from 0, id, execution, counted, failure or false, evidence
--        ([field, value, …])], …], the job that is to stand last in the queue first
-- REPLY  msgpack ['queued', 'dead', 'gone' or 'lost' (the lease was), …] in the order of entries
-- USES   whole, clock, settle, give_back

local fates = {}
for n, entry in ipairs(args.entries) do
  local q, id, execution, counted, failure, evidence = unpack(entry)
  if redis.call('ZREM', KEYS[3 * q + 2], id .. ':' .. execution) == 0 then
    fates[n] = 'lost'
  else
    fates[n] = give_back(args, KEYS[3 * q + 1], KEYS[3 * q + 3], id, execution, counted, failure,
      evidence)
  end
end
return cmsgpack.pack(fates)
