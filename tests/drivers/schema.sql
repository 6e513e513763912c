-- What every program finds in its database. Programs write under the ids of their scenario, so that the rows that are left tell
-- which of their transactions were kept.
CREATE TABLE owner (id int PRIMARY KEY);
CREATE TABLE item (
    id    int PRIMARY KEY,
    note  text NOT NULL DEFAULT '',
    owner int REFERENCES owner DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE bulk (id int PRIMARY KEY, body text);
