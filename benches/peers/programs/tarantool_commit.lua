-- Durable single-row commits by fibers inside the server: no network, no client processes.
-- Arguments: folder, fibers, seconds, row bytes. Prints commits/s, p50 and p99 in microseconds.
local clock = require('clock')
local ffi = require('ffi')
local fiber = require('fiber')

local WARM_UP_SECONDS = 0.5
-- One bucket per microsecond; what takes longer counts as the last one.
local BUCKETS = 1000000

local fibers, seconds = tonumber(arg[2]), tonumber(arg[3])
local value = string.rep('v', tonumber(arg[4]))

box.cfg{
    work_dir = arg[1],
    log = arg[1] .. '/tarantool.log',
    memtx_memory = 4 * 1024 * 1024 * 1024,
    wal_mode = 'fsync',
    checkpoint_interval = 0,
}
local space = box.schema.space.create('rows')
space:create_index('primary', {type = 'tree', parts = {1, 'unsigned'}})

local histogram = ffi.new('uint32_t[?]', BUCKETS)
local next_key, commits = 0, 0
local began = clock.monotonic() + WARM_UP_SECONDS
local ends = began + seconds

local function commit_until_end()
    local now = clock.monotonic()
    while now < ends do
        next_key = next_key + 1
        space:insert{next_key, value}
        local after = clock.monotonic()
        if now >= began and after <= ends then
            local took = math.floor((after - now) * 1e6)
            histogram[math.min(took, BUCKETS - 1)] = histogram[math.min(took, BUCKETS - 1)] + 1
            commits = commits + 1
        end
        now = after
    end
end

local function percentile(share)
    local wanted, seen = commits * share, 0
    for bucket = 0, BUCKETS - 1 do
        seen = seen + histogram[bucket]
        if seen >= wanted then
            return bucket
        end
    end
end

local workers = {}
for _ = 1, fibers do
    local worker = fiber.new(commit_until_end)
    worker:set_joinable(true)
    table.insert(workers, worker)
end
for _, worker in ipairs(workers) do
    assert(worker:join())
end
print(commits / seconds, percentile(0.5), percentile(0.99))
os.exit(0)
