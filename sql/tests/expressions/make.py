#!/usr/bin/env python3
"""Makes the corpus: asks a MariaDB server for the value, type and warnings of expressions.

    make.py SOCKET < expressions > NAME.txt

The server is started by hand, in a directory of its own, with --character-set-server=utf8mb4
--collation-server=utf8mb4_general_ci. Tests need none: they read the files.
A line is: expression, value, type, numbers of warnings; separated by tabs.
"""
import re
import subprocess
import sys

TABLE = """
CREATE DATABASE IF NOT EXISTS corpus;
USE corpus;
CREATE OR REPLACE TABLE t (i INT, u INT UNSIGNED, b BIGINT, bu BIGINT UNSIGNED, d DECIMAL(10,2), f FLOAT, g DOUBLE,
  s VARCHAR(20), x VARBINARY(20), dt DATE, tm TIME(3), dm DATETIME(6), ts TIMESTAMP NULL, n INT);
SET time_zone = '+00:00';
INSERT INTO t VALUES (42, 42, 9000000000, 18446744073709551615, 123.45, 1.5, 2.25, 'hello', 'raw', '2024-02-29',
  '10:20:30.5', '2024-02-29 10:20:30.123456', '2024-02-29 12:00:00', NULL);
"""
BEFORE = "SET time_zone = '+00:00', timestamp = 1709202030.123456, sql_mode = 'ERROR_FOR_DIVISION_BY_ZERO';"
NUMBERS = {"TINY", "SHORT", "LONG", "INT24", "LONGLONG", "YEAR"}


def run(socket, text, *options):
    command = ["mariadb", "-uroot", "-S", socket, "--default-character-set=utf8mb4", *options]
    return subprocess.run([*command, "-e", text], capture_output=True, text=True, errors="replace")


def type_of(field):
    kind = re.search(r"^Type: +(\S+)", field, re.M).group(1)
    flags = re.search(r"^Flags: *(.*)$", field, re.M).group(1)
    decimals = int(re.search(r"^Decimals: +(\d+)", field, re.M).group(1))
    binary = "binary (63)" in re.search(r"^Collation: *(.*)$", field, re.M).group(1)
    if kind in NUMBERS:
        return "bigint unsigned" if "UNSIGNED" in flags else "bigint"
    return {
        "NEWDECIMAL": f"decimal({decimals})",
        "DOUBLE": "double",
        "FLOAT": "float",
        "DATE": "date",
        "TIME": f"time({decimals})",
        "DATETIME": f"datetime({decimals})",
        "TIMESTAMP": f"datetime({decimals})",
        "NULL": "null",
    }.get(kind, "bytes" if binary else "text")


def ask(socket, expression):
    query = f"{BEFORE} USE corpus; SELECT {expression} AS v FROM t;"
    done = run(socket, f"{query} SHOW WARNINGS", "-B")
    error = re.search(r"ERROR (\d+)", done.stderr)
    if error:
        return f"ERROR {error.group(1)}", "", ""
    lines = done.stdout.split("\n")
    codes = re.findall(r"^(?:Warning|Note|Error)\t(\d+)", done.stdout, re.M)
    # The client tells types only when it draws tables, and draws tables without escapes.
    fields = run(socket, query, "-t", "--column-type-info").stdout
    return lines[1], type_of(fields), ",".join(codes)


def main():
    socket = sys.argv[1]
    done = run(socket, TABLE, "-B")
    if done.returncode:
        raise SystemExit(done.stderr)
    for line in sys.stdin:
        expression = line.rstrip("\n")
        if expression:
            print("\t".join([expression, *ask(socket, expression)]))


main()
