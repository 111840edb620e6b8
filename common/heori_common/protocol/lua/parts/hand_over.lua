-- hand_over.lua: claim jobs for a consumer that waits, and give them to it at once.
-- USES   now_s, queue_names, offers, claim_job

-- Hands the first jobs of a queue to consumers that wait; returns the ids of the others, the first of
-- which is left for a claim if it needs more than a slot, such as locks, or has options, or is not queued.
--   services: that serve the queue, or nil where that is not known
--   new: nil, or [fields, as read_claimable has them; [field, value, …]] of the only job, which is plain and
--   has no hash yet: it is written with the claim, if it is handed over
local function hand_over(queue, ids, services, new)
  local name = queue_name(queue)
  local wip = wip_key(name)
  -- The fields of one, or false when there is none that can be handed over.
  local function read(n)
    if new then
      return n == 1 and new[1]
    end
    local values, problem = false, false
    if n <= #ids then
      values, problem = read_claimable(job_key(ids[n]), math.huge)
    end
    return values and not (problem or values[HEORI_LOCKS] or values[HEORI_OPTIONS] or says(values[RATE_LIMIT_KEY]))
      and values[STATUS] == 'queued' and values
  end
  local next_id = 1
  local values = read(next_id)
  while values do
    local ok, service, offer = pcall(take_offer, name, nil, true, services) -- pcall: a key may hold anything
    if not ok or not service then
      break
    end
    local taken, jobs, leases = {}, {}, {}
    local score_s = math.ceil(now_s + offer[OFFER_LEASE_S] + offer[OFFER_MARGIN_S])
    while values and #taken < offer[OFFER_SLOTS] and #values[DATA] <= offer[OFFER_MAX_PAYLOAD] do
      local id = ids[next_id + #taken]
      local execution = offer[OFFER_TOKEN] .. string.format('%04x', #taken)
      taken[#taken + 1] = values
      jobs[#jobs + 1], jobs[#jobs + 2] = id, execution
      leases[#leases + 1], leases[#leases + 2] = score_s, id .. ':' .. execution
      values = read(next_id + #taken)
    end
    -- First, and pcall: the key may hold something else, and nothing is claimed then.
    local claims, leased = {}, #taken > 0 and redis.pcall('ZADD', wip, unpack(leases))
    if type(leased) == 'number' then
      redis.pcall('SADD', leased_key(), name)
      for n, each in ipairs(taken) do
        local id, execution = jobs[2 * n - 1], jobs[2 * n]
        claims[n] = note_claim(offer[OFFER_CONSUMER], id, job_key(id), execution, each, false, 0, '', false, 0,
          new and new[2])
      end
      next_id = next_id + #claims
    end
    -- A wake-up, if it is not to have that job as it stands.
    tell(service, offer, name, #claims > 0 and jobs or {}, claims)
    if #claims == 0 then
      room_told[whole_name(name)] = offer[OFFER_SLOTS]
      break
    end
  end
  local left = {}
  for n = next_id, #ids do
    left[#left + 1] = ids[n]
  end
  return left
end
