/* One client's conversation with the upstream, as a pure machine.
 *
 * It begins behind the startup phase, at the client's first ReadyForQuery. Every rule of requests (R…) and of captured events (E1 to
 * E4, E6, E7, E10) is decided here, on frames alone: no socket, no clock, no thread. What it needs of the
 * world (the time, fresh ids) is handed in.
 *
 * The shell's side of the bargain:
 * - frames are handed in the order in which they arrive, and actions are performed in the order in which they were added;
 * - frame bytes are writable: the session corrects the status byte of ReadyForQuery in place;
 * - after SESSION_HOLD the shell keeps the frame and stops reading the client; it hands the same frame in again after every
 *   session_on_server, session_on_cancelled and session_on_time, until it is taken;
 * - after SESSION_WHOLE it hands the same frame in again when frame.left is 0;
 * - when a frame with left > 0 was taken, the bytes that follow go where actions.rest says. What the session has for the server in the
 *   meantime waits until they have all gone. What it has for the client then (at SESSION_BAD, at session_shut_down, when the server is lost)
 *   cannot wait: a client that has got a part of a message gets nothing behind that. */
#ifndef PROXY_SESSION_SESSION_H
#define PROXY_SESSION_SESSION_H

#include "config/config.h"
#include "protocol/frame.h"
#include "proxy/session/actions.h"
#include "proxy/session/attributes.h"

enum session_result {
    SESSION_TAKEN,
    SESSION_HOLD,  /* not yet: the answer depends on replies that are still to come */
    SESSION_WHOLE, /* not yet: all of this message is needed */
    SESSION_BAD    /* a protocol violation: a FATAL for the client and ACTION_CLOSE are among the actions */
};

enum session_activity {
    SESSION_RESTS,
    SESSION_STAYS, /* a transaction of the server's is open, and it waits for the client */
    SESSION_RUNS   /* replies are owed */
};

enum session_outcome { OUTCOME_COMMITTED, OUTCOME_ROLLED_BACK, OUTCOME_UNKNOWN };

struct session_start {
    struct config *config;                        /* retained */
    struct shared_attributes *attributes;         /* of the thread; NULL: who the client is is shared with nobody */
    struct request_attributes who;                /* copied */
    const char *client;                           /* "127.0.0.1:53122"; outlives the session */
    struct span client_encoding, server_encoding; /* as the server reported them at startup */
    bool standard_conforming_strings;
    bool default_read_only;                                         /* default_transaction_read_only */
    void (*new_id)(void *context, unsigned char id[EVENT_ID_SIZE]); /* a fresh UUIDv7 */
    /* The sink of a channel that has no room for so many bytes of events at the moment (E13), or NULL. NULL itself: all have. */
    const char *(*sink_behind)(void *context, const struct channel *channel, size_t bytes);
    void *context;
};

struct session;

struct session *session_new(const struct session_start *start);
void session_free(struct session *s);

/* The time of what is handed in next: µs since 1970, by a clock that neither jumps nor goes back. Deadlines are in the same clock. */
void session_set_time(struct session *s, uint64_t now_us);
/* New rules for requests that begin from now on. */
void session_set_config(struct session *s, struct config *config);

enum session_result session_on_client(struct session *s, const struct frame *f, struct actions *a);
void session_on_server(struct session *s, const struct frame *f, struct actions *a);
/* The short way: how many bytes at the front of `input` are whole, ordinary messages. They are accounted for, need no action but
 * to be sent on in one piece, and their ReadyForQuery has been corrected in place. What stands behind them takes the long way, above.
 * To be called between messages only, and from the client only while no frame is held. */
size_t session_pass_client(struct session *s, struct span input);
size_t session_pass_server(struct session *s, struct span input);
/* The shortest way: CopyData of the client goes to the server, rows and CopyData of the server go to the client, whole or in parts, without
 * being handed in. True until something else is. */
bool session_passes_copy_data(struct session *s);
bool session_passes_rows(struct session *s);
/* The client is gone without Terminate (R5, P8). The shell goes on feeding the server's replies until ACTION_CLOSE. */
void session_on_client_lost(struct session *s, struct actions *a);
/* The next message of the server has to be handed in whole. */
bool session_wants_whole_row(const struct session *s);
/* The server is gone. `message` is what the client is told (08006), unless the server has said its own FATAL. */
void session_on_server_lost(struct session *s, struct span message, struct actions *a);
/* No server is to be had for what it has sent since nothing was owed to it: none of that has been heard by anybody, nor will be. The client is
 * told this error; what was to begin with it has failed, and what was to end with it has been rolled back. */
void session_on_refused(struct session *s, const char *sqlstate, struct span message, struct actions *a);
/* The connection that carried a cancel request has closed. */
void session_on_cancelled(struct session *s, struct actions *a);
/* What became of the COMMIT that ACTION_ASK_OUTCOME was about. Until it is known the session waits, and has to be told before it is freed. */
void session_on_outcome(struct session *s, enum session_outcome outcome, struct actions *a);
bool session_is_in_doubt(const struct session *s);
/* The deadline of ACTION_SET_TIMER has passed. */
void session_on_time(struct session *s, struct actions *a);
/* The process is draining (P12): true when the session may be closed now, for it is between requests. */
bool session_is_between_requests(const struct session *s);
/* Ends the session from outside (KILL, drain_timeout, SIGINT): the transaction is rolled back, the client gets FATAL 57P01. Where a COMMIT is out,
 * its reply comes first, for a second at most; then the client is told that nobody knows (08007). */
void session_shut_down(struct session *s, struct actions *a);
/* That reply is waited for. */
bool session_is_leaving(const struct session *s);
/* Replies are outstanding. */
bool session_is_busy(const struct session *s);

/* --- a client that does nothing ------------------------------------------------------------------ */

/* What has to be known of its session, so that it can be made again. For the session alone to look into. */
struct session_asleep {
    struct config *config;
    const struct request_attributes *who;
    const char *client;
    const struct encoding *encoding, *server_encoding;
    const struct route *base_route;
    uint64_t units, transactions;
    uint8_t base_mode;
    bool standard_conforming_strings, comments_matter, client_read_only, can_ask;
    bool own_begin_prepared, unnamed_portal_stale;
};

/* Nothing else would be lost: it is between requests, and nothing is owed or remembered. */
bool session_may_sleep(const struct session *s);
/* Frees the session, which may sleep. */
void session_sleep(struct session *s, struct session_asleep *out);
/* The session again: but for its buffers as it was, to the last byte. Of `start` counts what the session can ask, and the table of attributes. */
struct session *session_wake(const struct session_asleep *asleep, const struct session_start *start);

/* --- for whoever watches ------------------------------------------------------------------------- */

/* How things stand. Borrowed until the session is called again. */
struct session_facts {
    const char *database, *user, *application;
    const struct request *request; /* NULL: none is open */
    const char *route;             /* of the request that is open, or that would begin next; "": no block matches */
    size_t held_events;
    char status;           /* as the client sees it: I, T, E */
    bool busy;             /* replies are outstanding */
    uint64_t queries;      /* Queries and Syncs answered */
    uint64_t transactions; /* of the server, ended */
};

void session_tell_facts(const struct session *s, struct session_facts *out);
/* What its server does. */
enum session_activity session_activity(const struct session *s);
void session_tell_facts_asleep(const struct session_asleep *asleep, struct session_facts *out);

#endif
