-- One marked request: three statements, and a client transaction in it.
\set account random(1, 1000)
\set delta random(-5000, 5000)
SET pgatomic.request = '/bench/transfer';
UPDATE account SET balance = balance + :delta WHERE id = :account;
BEGIN;
INSERT INTO history (account, delta) VALUES (:account, :delta);
SELECT balance FROM account WHERE id = :account;
END;
SET pgatomic.outcome = 'commit';
