/* What the files of the client's side share (client.c, client_query.c, client_extended.c). */
#ifndef PROXY_SESSION_CLIENT_H
#define PROXY_SESSION_CLIENT_H

#include "proxy/session/decision.h"

/* The frame is wanted again; meanwhile the server is asked for what it owes. */
enum session_result client_hold(struct session *s);
enum session_result client_taken(struct session *s, enum frame_rest rest);
/* FATAL 08P01, and the end. */
enum session_result client_bad(struct session *s, const char *message);
/* Nothing is owed and nothing decided that is not confirmed: a decision can be made. */
bool client_is_settled(const struct session *s);
/* Messages of the client have to wait for what is under way. */
bool client_must_wait(const struct session *s);
/* True when the server's default_transaction_read_only is what the rules want, or will be before what is sent next. */
bool client_switch_read_only(struct session *s);
/* A statement under way may reset that: the next unit waits. */
void client_doubt_read_only(struct session *s);
/* The first message behind a Sync. */
void client_begin_unit(struct session *s);
/* A statement without a request of its own may name its route in a comment. */
void client_choose_route(struct session *s, struct span text);
/* Marks, and the question for them: they are no statements of a request, nor do they use a transaction. */
static inline bool client_speaks_to_us(enum statement_kind kind)
{
    return kind == STATEMENT_MARK_REQUEST || kind == STATEMENT_MARK_OUTCOME || kind == STATEMENT_SHOW_REQUEST;
}

void client_note_statement(struct session *s);
/* A statement that the server never hears of under the rules in force. */
bool client_answers(const struct session *s, enum statement_kind kind);
/* A plan of the client's own statements alone, which are only watched: it may be sent whatever is owed. */
bool client_only_watches(const struct session *s, const struct plan *plan);
/* An EXECUTE of a prepared SELECT pg_notify($1, $2) is one itself when its arguments are literals (E1). */
bool client_resolve_execute(const struct session *s, const struct statement *execute, struct statement *out);
/* What had to go ahead of a message has failed, and the client was told: only the end of its unit is missing. */
enum session_result client_refuse_ahead(struct session *s);

enum session_result client_on_query(struct session *s, const struct frame *f);
enum session_result client_on_function_call(struct session *s, const struct frame *f);
enum session_result client_on_extended(struct session *s, const struct frame *f);
enum session_result client_on_sync(struct session *s, const struct frame *f);

#endif
