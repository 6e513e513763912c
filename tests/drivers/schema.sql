-- What every program finds in its database. Programs write under the ids of their scenario, so that the rows that are left tell
-- which of their transactions were kept.
CREATE TABLE owner (id int PRIMARY KEY);
CREATE TABLE item (
    id    int PRIMARY KEY,
    note  text NOT NULL DEFAULT '',
    owner int REFERENCES owner DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE bulk (id int PRIMARY KEY, body text);

-- For pgbench: each change of a balance has a line of history.
CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL DEFAULT 0);
CREATE TABLE history (account int NOT NULL, delta bigint NOT NULL);
INSERT INTO account SELECT generate_series(1, 1000);
