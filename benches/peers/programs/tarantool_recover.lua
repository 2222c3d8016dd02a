-- Recovers a folder and answers for its rows.
-- Arguments: folder, memory in bytes. Prints the number of rows as soon as the space can be read,
-- then, for every key on standard input, its value in hexadecimal (or an empty line).
box.cfg{
    work_dir = arg[1],
    log = arg[1] .. '/tarantool.log',
    memtx_memory = tonumber(arg[2]),
    checkpoint_interval = 0,
}
local space = box.space.rows
io.stdout:write(tostring(space:len()), '\n')
io.stdout:flush()

for line in io.stdin:lines() do
    local row = space:get(tonumber(line))
    io.stdout:write(row and row[2]:hex() or '', '\n')
    io.stdout:flush()
end
os.exit(0)
