-- read_flow.lua: whether a job is one of Heori's that wait for others, by its options.
-- USES   read_options

-- What it gets of those for which it waits: 'none', 'one' or 'all'; nil for any other job.
local function flow_of(field)
  local options = read_options(field)
  local flow = options and options.flow
  return (flow == 'none' or flow == 'one' or flow == 'all') and flow or nil
end
