-- stop_job.lua: ask whoever runs a job to stop it, with rq's own command.
-- KEYS   none declared: that of the job
-- ARGS   id, command
--        command: as rq sends it, JSON
-- REPLY  'done' when it was heard, 'unheard' when it was not; else the status of the job, '' if it is gone
-- FULL   passes
-- USES   read_fields, runs

local found = read_fields(job_key(args.id), 'status', 'worker_name')
if not runs(args.id) then
  return found.status or ''
end
local heard = redis.call('PUBLISH', commands_to_key(found.worker_name or ''), args.command)
return heard > 0 and 'done' or 'unheard'
