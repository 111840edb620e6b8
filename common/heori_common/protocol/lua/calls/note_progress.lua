-- note_progress.lua: note how far running jobs are, where a handle reads it.
-- KEYS   none declared: those of the jobs
-- ARGS   entries
--        entries: [[id, execution, fraction from 0 to 1, text], …]
-- REPLY  how many were noted; the others have lost their lease
-- FULL   passes

local noted = 0
for _, entry in ipairs(args.entries) do
  local id, execution, fraction, text = unpack(entry)
  local job = job_key(id)
  if redis.pcall('HGET', job, 'heori_execution') == execution then
    redis.call('HSET', job, 'heori_progress', fraction, 'heori_progress_text', text)
    noted = noted + 1
  end
end
return noted
