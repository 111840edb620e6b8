-- job_options.lua: what a job's options say when it is about to be claimed.
-- USES   now_s, read_options, rates, pass_rate

-- What becomes of it: 'runs', and what is to be called once it is claimed, or nil; or 'aside' when
-- that was done with it here; or 'expired', and when that was. Or nil, and why it cannot run as it stands.
--   values: its fields, from read_claimable; queue: the key of the queue from which it comes
local function fate_by_options(id, queue, values)
  local options = read_options(values[HEORI_OPTIONS])
  local rate = options and rate_of(options)
  if not options or rate == nil then
    return nil, 'its heori_options have no meaning'
  end
  local expires_s = options.expires
  if expires_s ~= nil then
    if type(expires_s) ~= 'number' then
      return nil, 'its heori_options have no meaning'
    elseif expires_s <= now_s then
      return 'expired', expires_s
    end
  end
  if rate then
    local begin = pass_rate(id, queue, rate)
    return begin and 'runs' or 'aside', begin
  end
  return 'runs'
end
