-- The rows of all clients of a pool.
CREATE TABLE ledger (client int NOT NULL, turn int NOT NULL, amount int NOT NULL, PRIMARY KEY (client, turn));
