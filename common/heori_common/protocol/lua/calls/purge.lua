-- purge.lua: delete dead letters with all that RQ keeps about them, as its Job.delete does.
-- KEYS   failed (zset), wip (zset)
-- ARGS   jobs, dry_run, job_stem, executions_stem, execution_stem, group_stem
--        jobs: [[id, [key of what else belongs to it alone, …]], …]
--        dry_run: change nothing, only tell
-- REPLY  msgpack ['purged', 'absent' or 'elsewhere' as dead_letter_state.lua says, …] in the order of jobs
-- USES   dead_letter_state

local fates = {}
for n, entry in ipairs(args.jobs) do
  local id, others = unpack(entry)
  local job, executions = args.job_stem .. id, args.executions_stem .. id
  local fate = dead_letter_state(KEYS[1], id, job)
  if fate ~= 'absent' and fate ~= 'elsewhere' then
    if not args.dry_run then
      -- pcall: any of these keys may hold something else, which is no reason to keep the rest
      local running = redis.pcall('ZRANGE', executions, 0, -1)
      for _, execution in ipairs(running.err and {} or running) do
        redis.call('UNLINK', args.execution_stem .. id .. ':' .. execution)
        redis.pcall('ZREM', KEYS[2], id .. ':' .. execution)
      end
      local group = redis.pcall('HGET', job, 'group_id')
      if type(group) == 'string' and group ~= '' then
        redis.pcall('SREM', args.group_stem .. group, id)
      end
      redis.call('UNLINK', job, executions, unpack(others))
      redis.call('ZREM', KEYS[1], id)
    end
    fate = 'purged'
  end
  fates[n] = fate
end
return cmsgpack.pack(fates)
