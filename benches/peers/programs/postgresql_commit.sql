-- One durable single-row commit; pgbench gives the value and prepares the statement once.
INSERT INTO commits (value) VALUES (:value);
