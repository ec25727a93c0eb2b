-- What is asked of queues beside publishing and claiming. ARGV[1] names it.
local asked = {}

-- ARGV: lease ms, kind, ms to keep, queues. Answers: the first queue with another lease, and that lease; or nothing.
function asked.declare()
  go_on_when_full()
  local lease, kind, keep = tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
  drop_expired_queues()
  for i = 5, #ARGV do
    local other = meta_of(ARGV[i])
    if other and other > 0 and other ~= lease then return {ARGV[i], number(other)} end
  end
  for i = 5, #ARGV do
    local queue = ARGV[i]
    local known, old = meta_of(queue)
    if not known then make_stream(queue) end
    local new = (kind == '' or old == '') and '' or kind
    set_meta(queue, lease, new)
    if new == '' then call('ZREM', P .. ':temporary', queue) else keep_until(queue, now + keep) end
  end
  return {}
end

-- ARGV: consumer, ms for which it counts as alive, ms to keep queues of kind 'r', queues.
function asked.present()
  go_on_when_full()
  for i = 5, #ARGV do
    local consumers = P .. ':c:' .. ARGV[i]
    call('ZREMRANGEBYSCORE', consumers, '-inf', number(now))
    call('ZADD', consumers, number(now + ARGV[3]), ARGV[2])
    local _, kind = meta_of(ARGV[i])
    if kind == 'r' and ARGV[4] ~= '' then keep_until(ARGV[i], now + ARGV[4]) end
  end
  drop_expired_queues()
  return {}
end

-- ARGV: consumer, queues.
function asked.leave()
  for i = 3, #ARGV do
    call('ZREM', P .. ':c:' .. ARGV[i], ARGV[2])
    ring(ARGV[i]) -- it may have heard a bell that it can no longer answer
  end
  if #ARGV > 2 then call('UNLINK', P .. ':u:' .. ARGV[2]) end -- rung for a wait that had not begun
  return {}
end

-- ARGV: consumer. Ends its waiting.
function asked.nudge()
  go_on_when_full()
  call('RPUSH', P .. ':u:' .. ARGV[2], '1')
  call('PEXPIRE', P .. ':u:' .. ARGV[2], 10000)
  return {}
end

-- ARGV: queue and lease by turns. Answers 1 for each that was still owned, else 0.
function asked.renew()
  go_on_when_full()
  local answers = {}
  for i = 2, #ARGV, 2 do
    local leases, lease = P .. ':l:' .. ARGV[i], ARGV[i + 1]
    local length = meta_of(ARGV[i])
    local owned = length and redis.call('ZSCORE', leases, lease)
    if owned then call('ZADD', leases, number(now + length), lease) end
    answers[#answers + 1] = owned and 1 or 0
  end
  return answers
end

local function count(key, low, high) return call('ZCOUNT', key, low, high) end

-- ARGV: queues, or none for all. Answers, per queue: name, ready, in flight, delayed, consumers.
function asked.stats()
  local names, first, answers, time = ARGV, 2, {}, number(now)
  if #ARGV == 1 then names, first = call('HKEYS', P .. ':queues'), 1 end
  for i = first, #names do
    local queue = names[i]
    local leases, waiting = P .. ':l:' .. queue, P .. ':d:' .. queue
    local held = count(leases, '(' .. time, '+inf')
    answers[#answers + 1] = {
      queue, call('XLEN', P .. ':q:' .. queue) - held + count(waiting, '-inf', time), held,
      count(waiting, '(' .. time, '+inf'), count(P .. ':c:' .. queue, time, '+inf'),
    }
  end
  return answers
end

local function undelivered(stream, limit)
  local groups, last = redis.pcall('XINFO', 'GROUPS', stream), '0-0'
  if groups.err then return {} end
  for _, group in ipairs(groups) do -- others may have made groups of their own
    local facts = {}
    for i = 1, #group, 2 do facts[group[i]] = group[i + 1] end
    if facts.name == 'w' then last = facts['last-delivered-id'] end
  end
  return call('XRANGE', stream, '(' .. last, '+', 'COUNT', limit)
end

-- ARGV: queue, limit. Answers ready messages: given back, undelivered, due.
function asked.peek()
  local queue, limit, answers = ARGV[2], tonumber(ARGV[3]), {}
  local stream = P .. ':q:' .. queue
  for _, lease in ipairs(call('ZRANGEBYSCORE', P .. ':l:' .. queue, '-inf', number(now), 'LIMIT', 0, limit)) do
    local entry = string.match(lease, '^%S+')
    local found = call('XRANGE', stream, entry, entry)[1]
    if found then answers[#answers + 1] = message_of(entry, found[2]) end
  end
  for _, item in ipairs(undelivered(stream, limit)) do answers[#answers + 1] = message_of(item[1], item[2]) end
  for _, member in ipairs(call('ZRANGEBYSCORE', P .. ':d:' .. queue, '-inf', number(now), 'LIMIT', 0, limit)) do
    answers[#answers + 1] = string.sub(member, 17)
  end
  for i = #answers, limit + 1, -1 do answers[i] = nil end
  return answers
end

-- ARGV: queue, limit. Answers how many ready messages it deleted; fewer than the limit if none are left.
function asked.purge()
  local queue, limit = ARGV[2], tonumber(ARGV[3])
  local stream, leases, waiting = P .. ':q:' .. queue, P .. ':l:' .. queue, P .. ':d:' .. queue
  local deleted = 0
  for _, lease in ipairs(call('ZRANGEBYSCORE', leases, '-inf', number(now), 'LIMIT', 0, limit)) do
    call('ZREM', leases, lease)
    deleted = deleted + call('XDEL', stream, string.match(lease, '^%S+'))
  end
  for _, item in ipairs(undelivered(stream, limit)) do deleted = deleted + call('XDEL', stream, item[1]) end
  for _, member in ipairs(call('ZRANGEBYSCORE', waiting, '-inf', number(now), 'LIMIT', 0, limit)) do
    deleted = deleted + call('ZREM', waiting, member)
  end
  return deleted
end

return asked[ARGV[1]]()
