/* What the files that decide (decide*.c) share: the pieces that a plan is built of, and each other's doors.
 *
 * Every step takes d->st as the state that holds once it has succeeded; so a decision changes d->st first and adds the step then.
 * Replies are messages in place of CommandComplete; ReadyForQuery is not among them. */
#ifndef PROXY_SESSION_DECISION_H
#define PROXY_SESSION_DECISION_H

#include "proxy/session/machine.h"

/* A statement for its completion's sake, harmless in any state: it takes no snapshot. */
#define GUARD "SHOW transaction_isolation"

/* --- decision.c: steps ------------------------------------------------------------------------- */

/* The client's own statement, as it stands in `slice`. */
struct step *decision_client(struct decision *d, struct span slice, enum effect effect);
/* A statement of ours; hidden: the client hears nothing of it. */
struct step *decision_ours(struct decision *d, const char *sql, enum effect effect);
struct step *decision_hidden(struct decision *d, const char *sql, enum effect effect);
/* Nothing for the server. */
struct step *decision_local(struct decision *d, enum effect effect);
void decision_name(struct decision *d, struct step *step, struct span name);
void decision_discard(struct step *step, enum discard_reason reason);

/* Events are captured in the open transaction, or will be by the steps so far. */
bool decision_has_events(const struct decision *d);
/* Events were captured, if only to be undone: a request is open, perhaps without the server's knowledge, and an error has to fail it. */
bool decision_has_begun(const struct decision *d);

/* How many events have been captured so far, those in flight included. */
size_t decision_captured(const struct decision *d);
/* The transaction of those ends here. */
void decision_settle(struct decision *d);

/* Takes what is in `made`, which is empty afterwards. */
void decision_reply(struct decision *d, struct step *step, struct buffer *made);
void decision_reply_tag(struct decision *d, struct step *step, const char *tag);
/* The one row of a function that was answered here, in a Query with its description; _complete: and its CommandComplete. */
void decision_reply_row(struct decision *d, struct step *step, const struct statement *st, const char *function,
                        bool is_text, struct span value);
void decision_reply_row_complete(struct decision *d, struct step *step, const struct statement *st,
                                 const char *function, bool is_text, struct span value);
/* PostgreSQL warns and goes on. */
void decision_warn(struct decision *d, struct step *step, const char *sqlstate, const char *text, const char *tag);
/* The step succeeds, but its reply is an error, and nothing behind it runs. */
void decision_fail(struct decision *d, struct step *step, const char *sqlstate, const char *text, struct span detail);
/* The client's statement fails on the server (R15), and with it the request, even one that it would have been the first of. Outside of
 * requests it may fail here, when the server has no part in it. */
void decide_refuse(struct decision *d, const char *sqlstate, const char *message);
/* The same of a mark, or of the end of a transaction that is not there: they open no request only to fail it. */
void decide_refuse_lightly(struct decision *d, const char *sqlstate, const char *message);
/* "BEGIN" or "START TRANSACTION", as the client said it. */
const char *decision_begin_tag(const struct statement *st);

/* --- decide.c ---------------------------------------------------------------------------------- */

/* The wrapper alone, if it is not open: for what goes into it by itself. */
void decide_wrapper(struct decision *d);
/* BEGIN or SET TRANSACTION (`verb`) with these modes, hidden. */
void decision_begin(struct decision *d, const char *verb, enum statement_isolation isolation,
                    enum statement_access access, bool deferrable, enum effect effect);

/* --- decide_request.c: requests and marks (R2 to R5) --------------------------------------------- */

/* What a COMMIT would check (sandbox); `undo` is what has to be rolled back when it fails. */
void decision_check_constraints(struct decision *d, enum undo undo);
/* Back to the rules of the connection's unmarked requests. A client's BEGIN that has run nothing stays. */
void decide_leave(struct decision *d);
/* The step whose completion ends the request; the caller gives it its reply. */
struct step *decide_end(struct decision *d, bool commit, enum discard_reason reason);
/* Whatever request is open ends, because something else begins. */
void decide_end_open(struct decision *d);
void decide_mark_request(struct decision *d, const struct statement *st, const struct arguments *arguments);
void decide_mark_outcome(struct decision *d, const struct statement *st, const struct arguments *arguments);
void decide_show_request(struct decision *d);
/* A client transaction of which the server knows nothing may still have captured events. */
bool decide_lazy_has_events(const struct decision *d);

/* --- decide_client.c: client transactions inside a wrapper (R7, R8) ------------------------------ */

void decide_virtual_begin(struct decision *d, const struct statement *st, struct span slice);
void decide_virtual_commit(struct decision *d, const struct statement *st);
void decide_virtual_rollback(struct decision *d, const struct statement *st);
void decide_virtual_set_transaction(struct decision *d, const struct statement *st, struct span slice);
/* ROLLBACK TO and RELEASE; `tag`, when not NULL, is what the client is told. */
void decide_roll_back_client(struct decision *d, const char *tag);
/* SAVEPOINT, RELEASE and ROLLBACK TO, under any rules. */
void decide_savepoint(struct decision *d, const struct statement *st, struct span slice, enum effect effect);

/* --- decide_notify.c (E1, E7, E10) --------------------------------------------------------------- */

void decide_notify(struct decision *d, const struct statement *st, struct span slice,
                   const struct arguments *arguments);

/* --- durable.c (E8) ------------------------------------------------------------------------------ */

/* Events of this channel have to be rows of the outbox before they are committed. */
bool durable_is(const struct decision *d, const struct channel *channel);
/* No transaction is known for sure to be open that ends with a COMMIT of its own, so that a row has to be written at once. */
bool durable_needs_row_now(const struct decision *d);
/* E11: an equal event of the same transaction stands for this one, whose channel folds, so that it needs no row. */
bool durable_is_folded(const struct decision *d, const struct channel *channel, const struct arguments *arguments);
/* The statement that writes the row of the event that `hold` is about: a step of ours. */
struct step *durable_write_one(struct decision *d, const struct step *hold, enum effect effect);
/* The same for all events of the transaction that are no rows yet: hidden, ahead of its COMMIT. `undo`: what ends the transaction when
 * they cannot be written. */
void durable_write_all(struct decision *d, enum undo undo);
/* There are such events, held or captured by the steps so far. */
bool durable_is_owed(const struct decision *d);
/* The plan has a COMMIT, and which rows have to go ahead of it depends on replies that are still owed. */
bool durable_must_wait(const struct session *s, const struct plan *plan);

/* --- doubt.c (E9) -------------------------------------------------------------------------------- */

/* All of these ask for the transaction's number, if it has captured events, and was not asked yet. In a string a statement that ends a
 * transaction of its own is complete when that is, so the question goes ahead of it. */
void doubt_ask_ahead_of_commit(struct decision *d);
/* Ahead of a string's last statement, and behind it. */
void doubt_ask_ahead_of_last(struct decision *d, enum statement_kind kind);
void doubt_ask_at_end(struct decision *d);
/* Ahead of a notification in a string, and behind one in a pipeline. */
void doubt_ask_ahead(struct decision *d);
void doubt_ask_behind(struct decision *d);

#endif
