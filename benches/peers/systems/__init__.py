"""One module per peer: how to load it, stop it, start it and ask it for its rows.

A recovery peer has `name`, `packages`, `binary`, `modes`, `version()` and
`prepare(mode, dataset, home)`, which loads the rows and returns an object with

    load_s            seconds from the first row sent to the last row safe on disk
    start()           starts the server on the stored files; returns {"total_s", ...} once it
                      has answered that all rows are there
    check()           the number of sampled rows that came back exactly, after start()
    stop()            ends the server (SIGKILL: the next start must read the same files)
    files()           directory whose files are pre-read for a warm run

A commit peer has `commit_mode` and `commit(clients, seconds, row_bytes, home)`, which returns
{"commits_per_s", "p50_us", "p99_us"} for durable single-row commits.
"""
