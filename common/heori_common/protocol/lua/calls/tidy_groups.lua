-- tidy_groups.lua: strike the jobs of which nothing is left from RQ's groups, and groups without any, as
-- RQ's own workers do (rq 3.0.0, rq/group.py, clean_registries). It is called again with the cursor of the
-- last reply until that is '0'.
-- KEYS   groups (set)
-- ARGS   cursor, most
--        most: groups in one call, about; and jobs of one that are all looked at. Of larger ones it
--        looks at as many, and at more as long as many of these are gone
-- REPLY  msgpack [cursor, how many jobs were struck]
-- FULL   passes

local groups = unpack(KEYS)
local struck = 0
local MOST_LOOKS = 10 -- at one group

-- Returns how many of them are gone.
local function strike(group, ids)
  local gone = {}
  for _, id in ipairs(ids) do
    if redis.call('EXISTS', job_key(id)) == 0 then
      gone[#gone + 1] = id
    end
  end
  for first = 1, #gone, 1000 do
    redis.call('SREM', group, unpack(gone, first, math.min(first + 999, #gone)))
  end
  struck = struck + #gone
  return #gone
end

local page = redis.pcall('SSCAN', groups, args.cursor, 'COUNT', args.most)
if page.err then
  return cmsgpack.pack({ '0', 0 }) -- it holds something else
end
for _, name in ipairs(page[2]) do
  local group = group_key(name)
  local jobs = redis.pcall('SCARD', group)
  if type(jobs) == 'number' and jobs <= args.most then
    strike(group, redis.call('SMEMBERS', group))
  elseif type(jobs) == 'number' then
    local looks, many = 0, true
    while many and looks < MOST_LOOKS do
      local ids = redis.call('SRANDMEMBER', group, args.most)
      many = #ids > 0 and 4 * strike(group, ids) >= #ids
      looks = looks + 1
    end
  end
  if redis.call('EXISTS', group) == 0 then
    redis.call('SREM', groups, name)
  end
end
return cmsgpack.pack({ page[1], struck })
