-- read_flow.lua: whether a job is one of Heori's that wait for others, by its options.
-- USES   read_options

local FLOWS = { none = true, one = true, all = true, failed = true, failures = true }

-- What it gets of those for which it waits: 'none', what 'one' has returned, or 'all' have; or, where it is
-- to handle failures, the 'failures', or nothing when one has 'failed'. It is nil for any other job.
local function flow_of(field)
  local options = read_options(field)
  local flow = options and options.flow
  return FLOWS[flow] and flow or nil
end
