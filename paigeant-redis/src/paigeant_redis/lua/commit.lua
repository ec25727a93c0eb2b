-- Performs operations one after another, each entirely or not at all; answers each separately.
-- ARGV, per operation: kind, queue, lease, number of writes, number of publications,
--   then per write: 'put' | 'keep' | 'delete', key, expected ('*' any, '0' none, else a revision), due, ttl ms, value
--   and per publication: queue, delay ms, ttl ms, message.
-- Kinds: 'publish'; 'settle'; 'release' (delay ms in place of the writes); 'undo', a release that was no delivery.
-- Answers: revisions of the writes | 0 (lease lost) | {'conflict', key, revision} | {'error', text}
local publish_command = 'PUBLISH'
local kinds, rung = {}, {}
local held, settled = {}, {}     -- queue -> lease -> whether it is owned; queue -> leases to acknowledge
local olds = {}                  -- key -> header of its entry
local listed, dues, ends = {}, {}, {} -- key -> what the indexes shall say of it; false: nothing

local function in_bulk(command, key, list)
  for i = 1, #list, 1000 do call(command, key, unpack(list, i, math.min(i + 999, #list))) end
end

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

local function put(mode, key, due, ttl, value)
  local name, old, new = P .. ':e:' .. key, header(key), revision()
  local head = string.format('%s%24s%s', new, due, ttl == '' and ' ' or 't')
  if mode == 'keep' then
    call('SETRANGE', name, 0, head)
    if ttl ~= '' then call('PEXPIRE', name, ttl) else call('PERSIST', name) end
  elseif ttl ~= '' then
    call('SET', name, head .. value, 'PX', ttl)
  else
    call('SET', name, head .. value)
  end
  if old == '' then listed[key] = '0' end
  if due ~= '' then
    if string.sub(head, 17, 40) ~= string.sub(old, 17, 40) then dues[key] = due end
  elseif old ~= '' and string.sub(old, 40, 40) ~= ' ' then
    dues[key] = false
  end
  if ttl ~= '' then
    ends[key] = number(now + tonumber(ttl))
  elseif string.sub(old, 41, 41) == 't' then
    ends[key] = false
  end
  olds[key] = head
  return new
end

local function delete(key)
  call('UNLINK', P .. ':e:' .. key)
  olds[key], listed[key], dues[key], ends[key] = '', false, false, false
  return '0'
end

local function update_index(name, entries)
  local add, remove = {}, {}
  for key, score in pairs(entries) do
    if score then
      add[#add + 1] = score
      add[#add + 1] = key
    else
      remove[#remove + 1] = key
    end
  end
  in_bulk('ZADD', P .. name, add)
  in_bulk('ZREM', P .. name, remove)
end

-- Entries whose time is over are deleted by the server; this deletes them from the indexes.
local function forget_expired()
  local over = call('ZRANGEBYSCORE', P .. ':ttl', '-inf', number(now - 1), 'LIMIT', 0, 500)
  for _, key in ipairs(over) do
    if call('EXISTS', P .. ':e:' .. key) == 0 then
      call('ZREM', P .. ':keys', key)
      call('ZREM', P .. ':due', key)
    end
    call('ZREM', P .. ':ttl', key)
  end
end

-- The owner of all leases of this batch, in one look per queue; 'lease -> true' if it is held.
local function look_at_leases()
  local asked = {}
  local at, size = 1, #ARGV
  while at <= size do
    local kind, queue = ARGV[at], ARGV[at + 1]
    if kind ~= 'publish' then
      local list = asked[queue]
      if not list then
        list = {}
        asked[queue] = list
      end
      list[#list + 1] = ARGV[at + 2]
    end
    at = at + 5
    if kind == 'publish' or kind == 'settle' then at = at + ARGV[at - 2] * 6 + ARGV[at - 1] * 4 end
  end
  for queue, list in pairs(asked) do
    local owned = {}
    for i = 1, #list, 1000 do
      local last = math.min(i + 999, #list)
      local ends = call('ZMSCORE', P .. ':l:' .. queue, unpack(list, i, last))
      for j = i, last do owned[list[j]] = ends[j - i + 1] and true end
    end
    held[queue], settled[queue] = owned, {}
  end
  if next(held) then go_on_when_full() end
end

local function give_back(kind, queue, lease, delay)
  if not held[queue][lease] then return 0 end
  held[queue][lease] = false
  local entry, deliveries = string.match(lease, '^(%S+) (%d+)')
  if kind == 'undo' then deliveries = deliveries - 1 end
  call('ZREM', P .. ':l:' .. queue, lease)
  call('ZADD', P .. ':l:' .. queue, delay == '0' and '0' or number(now + tonumber(delay)), entry .. ' ' .. deliveries)
  rung[queue] = true
  return {}
end

local function change(kind, at)
  local queue, lease, writes, publications = ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  if kind == 'settle' and not held[queue][lease] then return 0 end
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
    local told = mode == 'put' and #ARGV[i + 5] <= 512 and olds[key] .. ARGV[i + 5] or '' -- short ones need not be read
    redis.pcall(publish_command, P .. ':w:' .. key, told) -- without the right to, watchers look by themselves
  end
  if kind == 'settle' then
    held[queue][lease] = false
    settled[queue][#settled[queue] + 1] = lease
  end
  return answer
end

local function perform_all()
  local answers, at, size = {}, 1, #ARGV
  while at <= size do
    local kind, ok, answer = ARGV[at], nil, nil
    if kind == 'publish' or kind == 'settle' then
      ok, answer = pcall(change, kind, at)
    else
      ok, answer = pcall(give_back, kind, ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
    end
    if not ok then
      answer = {'error', type(answer) == 'table' and answer.err or tostring(answer)}
      olds = {}
    end
    answers[#answers + 1] = answer
    at = at + 5
    if kind == 'publish' or kind == 'settle' then at = at + ARGV[at - 2] * 6 + ARGV[at - 1] * 4 end
  end
  return answers
end

look_at_leases()
local answers = perform_all()
for queue, leases in pairs(settled) do
  in_bulk('ZREM', P .. ':l:' .. queue, leases)
  for i, lease in ipairs(leases) do leases[i] = string.match(lease, '^%S+') end
  in_bulk('XDEL', P .. ':q:' .. queue, leases)
end
update_index(':keys', listed)
update_index(':due', dues)
update_index(':ttl', ends)
if next(ends) then forget_expired() end
if last_revision then call('SET', P .. ':revision', string.format('%.0f', last_revision)) end
for queue in pairs(rung) do ring(queue) end
return answers
