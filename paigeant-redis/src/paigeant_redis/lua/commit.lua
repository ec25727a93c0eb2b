-- Performs operations one after another, each entirely or not at all; answers each separately.
-- ARGV, per operation: kind, queue, lease, number of writes, number of publications,
--   then per write: 'put' | 'keep' | 'delete', key, expected ('*' any, '0' none, else a revision), due, ttl ms, value
--   and per publication: queue, delay ms, ttl ms, message.
-- Kinds: 'publish'; 'settle'; 'release' (delay ms in place of the writes); 'undo', a release that was no delivery.
-- Answers: revisions of the writes | 0 (lease lost) | {'conflict', key, revision} | {'error', text}
local publish_command = 'PUBLISH'
local kinds, rung, settled, olds = {}, {}, {}, {}

local function need_queue(queue, ttl)
  local kind = kinds[queue]
  if kind == nil then
    local lease
    lease, kind = meta_of(queue)
    if not lease then
      make_stream(queue)
      kind = ttl and 't' or ''
      set_meta(queue, 0, kind)
    end
    kinds[queue] = kind
  end
  if kind == 't' then
    if ttl then
      keep_until(queue, now + ttl)
    else
      kinds[queue] = ''
      set_meta(queue, meta_of(queue), '')
      call('ZREM', P .. ':temporary', queue)
    end
  end
end

local function publish(queue, delay, ttl, message)
  need_queue(queue, tonumber(ttl))
  if delay == '0' then
    call('XADD', P .. ':q:' .. queue, '*', 'm', message)
    rung[queue] = true
  else
    local waiting = P .. ':d:' .. queue
    local member = revision() .. message
    call('ZADD', waiting, number(now + tonumber(delay)), member)
    if call('ZRANK', waiting, member) == 0 then rung[queue] = true end
  end
end

local function header(key)
  local old = olds[key]
  if old == nil then
    old = call('GETRANGE', P .. ':e:' .. key, 0, 40)
    olds[key] = old
  end
  return old
end

local function conflict(mode, key, expected)
  local found = string.sub(header(key), 1, 16)
  if mode == 'keep' and found == '' then return true end
  return expected ~= '*' and (expected == '0' and '' or expected) ~= found
end

-- Entries whose time is over are deleted by the server; this deletes them from the indexes.
local function forget_expired()
  for _, key in ipairs(call('ZRANGEBYSCORE', P .. ':ttl', '-inf', number(now - 1), 'LIMIT', 0, 4)) do
    if call('EXISTS', P .. ':e:' .. key) == 0 then
      call('ZREM', P .. ':keys', key)
      call('ZREM', P .. ':due', key)
    end
    call('ZREM', P .. ':ttl', key)
  end
end

local function set_ttl(name, key, ttl, old)
  if ttl ~= '' then
    call('PEXPIRE', name, ttl)
    call('ZADD', P .. ':ttl', number(now + tonumber(ttl)), key)
    forget_expired()
  elseif string.sub(old, 41, 41) == 't' then
    call('PERSIST', name)
    call('ZREM', P .. ':ttl', key)
  end
end

local function put(mode, key, due, ttl, value)
  local name, old, new = P .. ':e:' .. key, header(key), revision()
  local head = string.format('%s%24s%s', new, due, ttl == '' and ' ' or 't')
  if mode == 'keep' then call('SETRANGE', name, 0, head) else call('SET', name, head .. value) end
  set_ttl(name, key, ttl, old)
  if due ~= '' then
    call('ZADD', P .. ':due', due, key)
  elseif old ~= '' and string.sub(old, 40, 40) ~= ' ' then
    call('ZREM', P .. ':due', key)
  end
  if old == '' then call('ZADD', P .. ':keys', '0', key) end
  olds[key] = head
  return new
end

local function delete(key)
  call('UNLINK', P .. ':e:' .. key)
  for _, index in ipairs({':keys', ':due', ':ttl'}) do call('ZREM', P .. index, key) end
  olds[key] = ''
  return '0'
end

local function owned(queue, lease) return call('ZSCORE', P .. ':l:' .. queue, lease) end

local function give_back(kind, queue, lease, delay)
  if not owned(queue, lease) then return 0 end
  local entry, deliveries = string.match(lease, '^(%S+) (%d+)')
  if kind == 'undo' then deliveries = deliveries - 1 end
  call('ZREM', P .. ':l:' .. queue, lease)
  call('ZADD', P .. ':l:' .. queue, delay == '0' and '0' or number(now + tonumber(delay)), entry .. ' ' .. deliveries)
  rung[queue] = true
  return {}
end

local function acknowledge(queue, lease)
  call('ZREM', P .. ':l:' .. queue, lease)
  local entries = settled[queue]
  if not entries then
    entries = {}
    settled[queue] = entries
  end
  entries[#entries + 1] = string.match(lease, '^%S+')
end

local function change(kind, at)
  local queue, lease, writes, publications = ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  if kind == 'settle' and not owned(queue, lease) then return 0 end
  local first = at + 5
  local last = first + writes * 6
  for i = first, last - 1, 6 do
    local key = ARGV[i + 1]
    if conflict(ARGV[i], key, ARGV[i + 2]) then return {'conflict', key, string.sub(header(key), 1, 16)} end
  end
  for i = last, last + publications * 4 - 1, 4 do publish(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]) end
  local answer = {}
  for i = first, last - 1, 6 do
    local mode, key = ARGV[i], ARGV[i + 1]
    answer[#answer + 1] = mode == 'delete' and delete(key) or put(mode, key, ARGV[i + 3], ARGV[i + 4], ARGV[i + 5])
    call(publish_command, P .. ':w:' .. key, '')
  end
  if kind == 'settle' then acknowledge(queue, lease) end
  return answer
end

local function perform(kind, at)
  if kind == 'publish' or kind == 'settle' then return change(kind, at) end
  return give_back(kind, ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
end

local answers, at, size = {}, 1, #ARGV
while at <= size do
  local kind = ARGV[at]
  local ok, answer = pcall(perform, kind, at)
  if not ok then
    answer = {'error', type(answer) == 'table' and answer.err or tostring(answer)}
    olds = {}
  end
  answers[#answers + 1] = answer
  at = at + 5
  if kind == 'publish' or kind == 'settle' then at = at + ARGV[at - 2] * 6 + ARGV[at - 1] * 4 end
end
for queue, entries in pairs(settled) do
  for i = 1, #entries, 1000 do call('XDEL', P .. ':q:' .. queue, unpack(entries, i, math.min(i + 999, #entries))) end
end
for queue in pairs(rung) do ring(queue) end
return answers
