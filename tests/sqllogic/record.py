#!/usr/bin/env python3
"""Records what a MariaDB server answers into sqllogictest files, in place.

    record.py SOCKET FILE...

Needs PyMySQL, and a server that was started by hand in a directory of its own, with
--character-set-server=utf8mb4 --collation-server=utf8mb4_general_ci --default-time-zone=+00:00. Tests need neither:
they read the files. A record after a line `# ours` says what this server answers where MariaDB does not, and why; it
is left as it is.
"""
import sys

import pymysql
from pymysql.constants import FIELD_TYPE as T

INTEGERS = {T.TINY, T.SHORT, T.LONG, T.INT24, T.LONGLONG, T.YEAR}
REALS = {T.DECIMAL, T.NEWDECIMAL, T.FLOAT, T.DOUBLE}


def blocks(text):
    return [block for block in text.strip("\n").split("\n\n")]


def letter(kind):
    return "I" if kind in INTEGERS else "R" if kind in REALS else "T"


def show(value):
    if value is None:
        return "NULL"
    text = value.decode("utf8", "replace") if isinstance(value, bytes) else str(value)
    return text if text.strip() else "(empty)"


def record(cursor, block):
    lines = block.split("\n")
    comments = [line for line in lines if line.startswith("#")]
    lines = lines[len(comments):]
    if not lines or any(line.startswith("# ours") for line in comments):
        if lines and lines[0] == "statement ok":
            cursor.execute("\n".join(lines[1:]))
        return block
    head = lines[0].split()
    sql = []
    for line in lines[1:]:
        if line == "----":
            break
        sql.append(line)
    try:
        cursor.execute("\n".join(sql))
        if cursor.description is None:
            answer = ["statement ok", *sql]
        else:
            ordered = "nosort" in head or (len(head) == 1 and "ORDER BY" in sql[-1].upper().split(")")[-1])
            rows = [[show(value) for value in row] for row in cursor.fetchall()]
            if not ordered:
                rows.sort()
            types = "".join(letter(column[1]) for column in cursor.description)
            mode = "nosort" if ordered else "rowsort"
            answer = [f"query {types} {mode}", *sql, "----", *(" ".join(row) for row in rows)]
    except pymysql.MySQLError as error:
        answer = [f"statement error ERROR {error.args[0]}:", *sql]
    return "\n".join([*comments, *answer])


def main():
    socket, *names = sys.argv[1:]
    for name in names:
        with open(name, encoding="utf8") as file:
            text = file.read()
        # Values as the server writes them.
        connection = pymysql.connect(unix_socket=socket, user="root", conv={}, autocommit=True, charset="utf8mb4")
        cursor = connection.cursor()
        for sql in ["DROP DATABASE IF EXISTS corpus", "CREATE DATABASE corpus", "USE corpus",
                    "SET sql_mode = 'STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO'"]:
            cursor.execute(sql)
        recorded = "\n\n".join(record(cursor, block) for block in blocks(text)) + "\n"
        with open(name, "w", encoding="utf8") as file:
            file.write(recorded)
        connection.close()


main()
