-- Leases up to <limit> messages: first those whose lease ended or that were given back, then new ones.
-- It ends with the message that fills it: on a slow network, too, one answer must arrive before its leases end.
-- ARGV: owner, limit, lease ms (should the queue be new), kind (likewise), queues, the first one first.
-- Answers: ms until something may become ready (-1: unknown), then per message: queue, lease, message.
local owner, left, declared, kind = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local out = {-1}
local room = 1048576 -- bytes
go_on_when_full()

local function hand_out(queue, lease, message)
  out[#out + 1] = queue
  out[#out + 1] = lease
  out[#out + 1] = message
  room = room - #message
  left = room > 0 and left - 1 or 0
end

local function take_back(queue, leases, ends)
  for _, old in ipairs(call('ZRANGEBYSCORE', leases, '-inf', number(now), 'LIMIT', 0, left)) do
    if left == 0 then break end
    local entry, deliveries = string.match(old, '^(%S+) (%d+)')
    local found = entry and redis.pcall('XRANGE', P .. ':q:' .. queue, entry, entry) or {}
    call('ZREM', leases, old)
    if found[1] and not found.err then
      local lease = entry .. ' ' .. (deliveries + 1) .. ' ' .. owner
      call('ZADD', leases, ends, lease)
      hand_out(queue, lease, message_of(entry, found[1][2]))
    end
  end
end

local function read_new(queue)
  local stream = P .. ':q:' .. queue
  local read = redis.pcall('XREADGROUP', 'GROUP', 'w', 'w', 'COUNT', left, 'NOACK', 'STREAMS', stream, '>')
  if read and read.err then
    if not string.find(read.err, 'NOGROUP', 1, true) then error(read.err, 0) end
    make_stream(queue)
    read = call('XREADGROUP', 'GROUP', 'w', 'w', 'COUNT', left, 'NOACK', 'STREAMS', stream, '>')
  end
  return read and read[1][2] or {}
end

local function take_new(queue, leases, ends)
  local fresh = {}
  for i, item in ipairs(read_new(queue)) do
    local fits = left > 0
    local lease = item[1] .. (fits and ' 1 ' .. owner or ' 0') -- the group will not give it again: we give it back
    fresh[#fresh + 1] = fits and ends or i -- long past, and in their order
    fresh[#fresh + 1] = lease
    if fits then hand_out(queue, lease, message_of(item[1], item[2])) end
  end
  for i = 1, #fresh, 2000 do call('ZADD', leases, unpack(fresh, i, math.min(i + 1999, #fresh))) end
end

local function move_due(queue)
  local waiting = P .. ':d:' .. queue
  local due = call('ZRANGEBYSCORE', waiting, '-inf', number(now), 'LIMIT', 0, left)
  for _, member in ipairs(due) do
    call('XADD', P .. ':q:' .. queue, '*', 'm', string.sub(member, 17))
    call('ZREM', waiting, member) -- last: if the stream is not ours, nothing is lost
  end
end

local function lease_of(queue)
  local lease, known = meta_of(queue)
  if lease and lease > 0 then return lease end
  set_meta(queue, tonumber(declared), lease and known or kind) -- the server lost its data
  return tonumber(declared)
end

local function next_change(queue)
  for _, of in ipairs({':l:', ':d:'}) do
    local first = call('ZRANGE', P .. of .. queue, 0, 0, 'WITHSCORES')
    if first[2] then
      local wait = math.max(0, math.ceil(tonumber(first[2]) - now))
      if out[1] < 0 or wait < out[1] then out[1] = wait end
    end
  end
end

-- Whoever leaves something behind wakes the next one who waits.
local function leave_word(queue)
  local leases = P .. ':l:' .. queue
  if call('ZCOUNT', P .. ':d:' .. queue, '-inf', number(now + 1000)) > 0 then
    ring(queue)
  elseif left == 0 then
    local held = call('ZCARD', leases) - call('ZCOUNT', leases, '-inf', number(now))
    if redis.pcall('XLEN', P .. ':q:' .. queue) ~= held then ring(queue) end
  end
end

local function take(queue)
  local leases = P .. ':l:' .. queue
  local ends = number(now + lease_of(queue))
  take_back(queue, leases, ends)
  if left > 0 then
    move_due(queue)
    take_new(queue, leases, ends)
  end
end

-- A queue whose keys somebody damaged must not cost the others what was leased from them: it is told of when
-- there is nothing else.
local trouble
local function attempt(step, queue)
  local ok, err = pcall(step, queue)
  if not ok then
    trouble = redis.error_reply((type(err) == 'table' and err.err or tostring(err)) .. ', queue ' .. queue)
  end
end

for i = 5, #ARGV do
  if left > 0 then attempt(take, ARGV[i]) end
end
local found = #out > 1
for i = 5, #ARGV do attempt(found and leave_word or next_change, ARGV[i]) end
if trouble and not found then return trouble end
return out
