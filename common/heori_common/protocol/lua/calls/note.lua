-- note.lua: note what running jobs tell of themselves: how far they are, or their meta.
-- KEYS   none declared: those of the jobs
-- ARGS   entries
--        entries: [[id, execution, [field, value, …]], …]
-- REPLY  how many were noted; the others have lost their lease
-- FULL   passes

local noted = 0
for _, entry in ipairs(args.entries) do
  local id, execution, fields = unpack(entry)
  local job = job_key(id)
  if redis.pcall('HGET', job, 'heori_execution') == execution then
    redis.call('HSET', job, unpack(fields))
    noted = noted + 1
  end
end
return noted
