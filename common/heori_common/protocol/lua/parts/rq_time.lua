-- rq_time.lua: the time as RQ writes it in a job's hash.
-- USES   server_time

-- Days since 1970-01-01 to a civil date: Howard Hinnant, "chrono-Compatible Low-Level Date
-- Algorithms", civil_from_days. Lua inside Redis has no os.date.
local function iso8601(seconds, microseconds)
  local floor = math.floor
  local z = floor(seconds / 86400) + 719468
  local era = floor(z / 146097)
  local doe = z - era * 146097
  local yoe = floor((doe - floor(doe / 1460) + floor(doe / 36524) - floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + floor(yoe / 4) - floor(yoe / 100))
  local mp = floor((5 * doy + 2) / 153)
  local day = doy - floor((153 * mp + 2) / 5) + 1
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (month <= 2 and 1 or 0)
  local rest = seconds % 86400
  return string.format('%04d-%02d-%02dT%02d:%02d:%02d.%06dZ', year, month, day,
    floor(rest / 3600), floor(rest / 60) % 60, rest % 60, microseconds)
end

local now_iso = iso8601(tonumber(server_time[1]), tonumber(server_time[2])) -- in a job's hash
