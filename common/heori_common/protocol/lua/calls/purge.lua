-- purge.lua: delete dead letters with all that is kept about them, as its Job.delete does.
-- KEYS   failed (zset), wip (zset)
-- ARGS   jobs, dry_run
--        jobs: [[id, [key of what else belongs to it alone, …]], …]
--        dry_run: change nothing, only tell
-- REPLY  msgpack ['purged', 'absent' or 'elsewhere' as dead_letter_state.lua says, …] in the order of jobs
-- FULL   passes
-- USES   dead_letter_state

local failed, wip = unpack(KEYS)
local fates = {}
for n, entry in ipairs(args.jobs) do
  local id, others = unpack(entry)
  local job, executions = job_key(id), executions_key(id)
  local fate = dead_letter_state(failed, id, job)
  if fate ~= 'absent' and fate ~= 'elsewhere' then
    if not args.dry_run then
      -- pcall: any of these keys may hold something else, which is no reason to keep the rest
      local running = redis.pcall('ZRANGE', executions, 0, -1)
      for _, execution in ipairs(running.err and {} or running) do
        redis.call('UNLINK', execution_key(id .. ':' .. execution))
        redis.pcall('ZREM', wip, id .. ':' .. execution)
      end
      local group = redis.pcall('HGET', job, 'group_id')
      if type(group) == 'string' and group ~= '' then
        redis.pcall('SREM', group_key(group), id)
      end
      redis.call('UNLINK', job, executions, unpack(others))
      redis.call('ZREM', failed, id)
    end
    fate = 'purged'
  end
  fates[n] = fate
end
return cmsgpack.pack(fates)
