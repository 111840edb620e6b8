-- replay.lua: put dead letters back at the end of their queue, as if they had never run.
-- Moves only what still stands in the registry, so any number may replay the same at once.
-- KEYS   queues (set), queue (list), failed (zset)
-- ARGS   ids, queue, dry_run
--        queue: its name
--        dry_run: change nothing, only tell
-- REPLY  msgpack ['replayed' or what dead_letter_state.lua says, …] in the order of ids
-- FULL   passes
-- USES   arrivals, dead_letter_state, run_anew

local queues, queue, failed = unpack(KEYS)
redis.call('LLEN', queue) -- a key that holds no list is told of before anything is written
if not args.dry_run then
  redis.call('SADD', queues, queue)
end
local fates, ids = {}, {}
for n, id in ipairs(args.ids) do
  local job = job_key(id)
  local fate = dead_letter_state(failed, id, job)
  if fate == 'dead' then
    fate = 'replayed'
    if not args.dry_run then
      begin_anew(id, args.queue)
      if waits_for_slot(id) then
        redis.call('ZREM', failed, id)
      else
        ids[#ids + 1] = id
      end
    end
  end
  fates[n] = fate
end
if #ids > 0 then
  redis.call('ZREM', failed, unpack(ids))
  redis.call('RPUSH', queue, unpack(ids))
  jobs_arrived(queue, #ids)
end
return cmsgpack.pack(fates)
