/* What the relay says to PostgreSQL.
 *
 * Each of these touches only rows that nobody else has locked, so that neither another pgatomic nor a person with an open transaction can
 * make the relay wait. The last three answer with the ids of the rows that were there, and for each whether it is done. */
#ifndef PROXY_EVENTS_OUTBOX_SQL_H
#define PROXY_EVENTS_OUTBOX_SQL_H

/* Before all else on a connection. */
extern const char outbox_sql_settings[];

/* $1 rows at most, $2 the lease in ms, $3 channels to leave alone, $4 bytes of payload at most (but one row), $5 bytes of the largest
 * payload that is wanted: of a larger one comes NULL, as of one whose channel has a name of more than 1000 characters. Gives, oldest first: id,
 * channel, payload, bytes of payload, route, label, request, attempts, when it was created in µs since 1970. */
extern const char outbox_sql_claim[];

/* $1 ids, $2 the lease in ms. */
extern const char outbox_sql_renew[];
/* $1 ids, $2 attempts, $3 reasons, $4 the lease in ms. */
extern const char outbox_sql_note[];
/* $1 ids. Nothing is left to be done for one that another process has in the meantime. */
extern const char outbox_sql_let_go[];
/* $1 ids. */
extern const char outbox_sql_delete[];
/* $1 ids, $2 attempts, $3 reasons. */
extern const char outbox_sql_bury[];

#endif
