-- hand_over.lua: claim jobs for a consumer that waits, and give them to it at once.
-- USES   now_s, has_type, queue_names, offers, claim_job

-- Hands the first jobs of a queue to consumers that wait; returns the ids of the others, the first of
-- which is left for a claim if it needs more than a slot, such as locks, or has options, or is not queued.
local function hand_over(queue, ids)
  local name = queue_name(queue)
  local wip = wip_key(name)
  if not has_type('zset', wip) then
    return ids
  end
  local next_id = 1
  -- The fields of the next one, or false when there is none that can be handed over.
  local function read_next()
    local values, problem = false, false
    if next_id <= #ids then
      values, problem = read_claimable(job_key(ids[next_id]), math.huge)
    end
    return values and not (problem or values[HEORI_LOCKS] or values[HEORI_OPTIONS] or says(values[RATE_LIMIT_KEY]))
      and values[STATUS] == 'queued' and values
  end
  local values = read_next()
  while values do
    local ok, service, offer = pcall(take_offer, name, nil, true) -- pcall: a key may hold anything
    if not ok or not service then
      break
    end
    local jobs, claims, leases = {}, {}, {}
    local score_s = math.ceil(now_s + offer[OFFER_LEASE_S] + offer[OFFER_MARGIN_S])
    while values and #claims < offer[OFFER_SLOTS] and #values[DATA] <= offer[OFFER_MAX_PAYLOAD] do
      local id = ids[next_id]
      local execution = offer[OFFER_TOKEN] .. string.format('%04x', #claims)
      claims[#claims + 1] = note_claim(offer[OFFER_CONSUMER], id, job_key(id), execution, values, false, 0, '', false, 0)
      jobs[#jobs + 1], jobs[#jobs + 2] = id, execution
      leases[#leases + 1], leases[#leases + 2] = score_s, id .. ':' .. execution
      next_id = next_id + 1
      values = read_next()
    end
    if #leases > 0 then
      redis.call('ZADD', wip, unpack(leases))
      redis.pcall('SADD', leased_key(), name)
    end
    tell(service, offer, name, jobs, claims) -- a wake-up, if it is not to have that job as it stands
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
