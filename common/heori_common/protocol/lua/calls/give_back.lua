-- give_back.lua: give back jobs that this consumer has claimed and will not finish.
-- KEYS   for each queue: queue (list), wip (zset), failed (zset)
-- ARGS   entries
--        entries: [[queue number from 0, id, execution, counted (true, false or 'last'), failure or
--        false, evidence ([field, value, …]; what to add, where it is not counted)], …], the job that
--        is to stand last in the queue first
-- REPLY  msgpack ['queued', 'dead', 'gone', 'lost' (the lease was) or 'kept' (under its lease,
--        as a key of its queue has the wrong type), …] in the order of entries
-- FULL   passes
-- USES   end_lease, vanished

local fates = {}
for n, entry in ipairs(args.entries) do
  local q, id, execution, counted, failure, evidence = unpack(entry)
  local queue, wip, failed = KEYS[3 * q + 1], KEYS[3 * q + 2], KEYS[3 * q + 3]
  fates[n] = end_lease(queue, wip, failed, id, execution, counted, failure, evidence)
  if fates[n] == 'lost' and not counted then
    has_come_back(id, execution)
  end
end
return cmsgpack.pack(fates)
