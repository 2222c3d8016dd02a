-- Fills one memtx space and leaves it either in a snapshot only or in the log only.
-- Arguments: folder, mode (snapshot|xlog), rows, row bytes, pool file, span, step, memory in bytes.
-- Prints the seconds from the first row to the last one stored.
local clock = require('clock')
local folder, mode = arg[1], arg[2]
local rows, row_bytes = tonumber(arg[3]), tonumber(arg[4])
local span, step = tonumber(arg[6]), tonumber(arg[7])

-- Larger batches gain nothing measurable; smaller ones make the load wait for the log thread.
local ROWS_PER_TRANSACTION = 1000

local file = assert(io.open(arg[5], 'rb'))
local pool = file:read('*a')
file:close()

box.cfg{
    work_dir = folder,
    log = folder .. '/tarantool.log',
    memtx_memory = tonumber(arg[8]),
    wal_mode = mode == 'xlog' and 'write' or 'none',
    checkpoint_interval = 0,
}
local space = box.schema.space.create('rows')
space:create_index('primary', {type = 'tree', parts = {1, 'unsigned'}})

local began = clock.monotonic()
local offset = 0
for first = 0, rows - 1, ROWS_PER_TRANSACTION do
    box.begin()
    for key = first, math.min(first + ROWS_PER_TRANSACTION, rows) - 1 do
        space:replace{key, pool:sub(offset + 1, offset + row_bytes)}
        offset = offset + step
        if offset >= span then
            offset = offset - span
        end
    end
    box.commit()
end
if mode == 'snapshot' then
    box.snapshot()
end
print(clock.monotonic() - began)
os.exit(0)
