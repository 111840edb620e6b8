-- tell_begun.lua: answer what ask_consumers.lua has asked; whoever asks watches the job.
-- KEYS   none declared: those of the jobs
-- ARGS   jobs
--        jobs: [[id, execution, whether a slot has begun it], …]
-- REPLY  how many are still claimed so
-- FULL   passes

local told = 0
for _, entry in ipairs(args.jobs) do
  local id, execution, begun = unpack(entry)
  if redis.pcall('HGET', job_key(id), 'heori_execution') == execution then -- pcall: it may hold something else
    redis.call('HSET', job_key(id), 'heori_begun', begun and execution or '')
    told = told + 1
  end
end
return told
