/* What stands between a session and the pooled servers on which it runs (P3 to P6).
 *
 *     client ──▶ session ──▶ link ──▶ a server of the pool, this time
 *
 * The session believes that it has one server for as long as its client lives. The link keeps that true: it knows what the client has
 * prepared and set, and what the server at hand has; it renames prepared statements, puts in front of the client's messages what the
 * server has to be told first, takes the replies to that out again, and answers itself what the server need not be bothered with. It says
 * when the server may go to somebody else: nothing is owed, no transaction is open, and nothing that cannot follow was left behind.
 *
 * Pure, as the session is: no socket, no clock, no thread. A link lives on one thread, and so does a server's record at any one time.
 *
 * The shell's side of the bargain:
 * - what the session has for the server (ACTION_TO_SERVER) goes through link_on_client() in order, in pieces of any size, while a server is
 *   attached. While none is, the shell keeps those bytes, asks the pool for a server, attaches it and hands them in then; or it gives up,
 *   and tells both session and link (link_refuse);
 * - what comes from the server goes through link_on_server() piece by piece, and each piece on to the session;
 * - after every batch it asks link_may_release() when all actions are performed, and then detaches the server. */
#ifndef PROXY_LINK_LINK_H
#define PROXY_LINK_LINK_H

#include "protocol/buffer.h"
#include "proxy/link/parameters.h"
#include "proxy/link/statements.h"
#include "proxy/session/actions.h"

/* --- a server ------------------------------------------------------------------------------------ */

/* What a server was told and has told. Owned by the pool's entry for the server; nobody but the link looks into it. */
struct link_server;

struct link_server *link_server_new(void);
void link_server_free(struct link_server *s);
/* A ParameterStatus of its login. */
void link_server_on_parameter(struct link_server *s, struct span name, struct span value);
/* DISCARD ALL has been answered: nothing that a client did is left there. */
void link_server_on_reset(struct link_server *s);
/* It was told or has done things that cannot follow a client: DISCARD ALL is due before anybody else gets it, if anybody may. */
bool link_server_needs_reset(const struct link_server *s);
/* More replies may come than messages were sent, and be taken for those to another client: it has to be closed. */
bool link_server_is_out_of_step(const struct link_server *s);
/* Appends a ParameterStatus message for each value that it reports now. */
void link_server_append_parameters(const struct link_server *s, struct buffer *out);
/* NULL: it does not report that. */
const char *link_server_parameter(const struct link_server *s, struct span name);

/* --- a client ------------------------------------------------------------------------------------ */

struct link_start {
    struct statements *statements; /* of the worker; outlives the link */
    uint32_t
        scope; /* statements are shared with clients of the same number: that of the pool, whose servers see the same tables */
    struct parameters *base; /* of the client's startup packet; retained */
    bool keeps_server;       /* pool = session: the server stays until the client goes, and names are left alone */
    bool prepares_unnamed;   /* prepare_unnamed = on */
    /* P6: the client is about to LISTEN; link_on_listening() is to be called when a listener of the shell's hears the channel for it, or cannot.
     * And: it does not listen any more. on_listen NULL: there is no listener, and LISTEN pins. Neither calls back. */
    void (*on_listen)(void *context, struct span channel);
    void (*on_unlisten)(void *context, struct span channel);
    /* The server is pinned to the client from now on; `cause` is a few constant words, such as "temporary table". May be NULL. */
    void (*on_pinned)(void *context, const char *cause);
    void *context;
};

struct link;

struct link *link_new(const struct link_start *start);
void link_free(struct link *l); /* with no server attached; NULL: nothing */

/* A server that is idle. What it has to be told first, if anything, goes out at once: to_server of `out`. */
void link_attach(struct link *l, struct link_server *s, struct actions *out);
bool link_is_attached(const struct link *l);
/* The server may go to another client now: nothing is owed, no transaction is open, nothing is pinned. The shell adds that nothing is queued
 * for it, and that no cancel request is on its way. False when none is attached. */
bool link_may_release(const struct link *l);
/* The attached server knows the client's settings, as far as it has answered. For the greeting of a client: link_attach() with nothing
 * else sent, until this is true or link_error(). */
bool link_is_settled(const struct link *l);
/* The server is being told, or asked, what the client's settings are: a cancel request would hit that in place of a statement. */
bool link_is_settling(const struct link *l);
/* What waits for an earlier message to be answered is piling up: no more should be read. */
bool link_is_full(const struct link *l);
/* The server goes back to the pool, or is lost. */
void link_detach(struct link *l);
/* The client has gone, or its session has sent Terminate. What it left open is rolled back as soon as the server has answered what it
 * owes, what was pinned is discarded, all replies are dropped; then link_may_release() is true. False: this server cannot be had
 * clean again (the client stopped in the middle of a message), and has to be closed. */
bool link_end(struct link *l, struct actions *out);

/* Bytes from the session; performs to_server of `out`. Terminate is swallowed: the shell ends the link as it ends the client. */
void link_on_client(struct link *l, struct span bytes, struct actions *out);

/* Once for each on_listen(); the last one lets what was held go on to the server: to_server of `out`. */
void link_on_listening(struct link *l, bool ok, struct actions *out);
/* A message waits for that, or for the end of what came before it (a DISCARD ALL, say), and all that comes behind it is kept: no more
 * should be read. */
bool link_is_held(const struct link *l);
/* What the client hears from the listener may be told to it now: it is between transactions, and no reply is owed to it. */
bool link_is_between(const struct link *l);

/* Bytes from the server, cut into what the session has to see. */
struct link_piece {
    size_t skip;       /* bytes of the input, ahead of this piece, that are done with */
    struct span bytes; /* writable, as the session wants it; may be empty */
    bool own;          /* not of the input: the session takes all of it; valid until the next call */
};

/* The next piece of `input`, which holds everything from the server that nobody is done with; false: there is none before more comes. Then
 * `*piece` still says what to skip. What the server has to be told in consequence is added to_server of `out`. */
bool link_on_server(struct link *l, struct span input, struct link_piece *piece, struct actions *out);
/* The session took so much of a piece of the input. What it left is handed in again in front of what follows. */
void link_took(struct link *l, size_t size);

/* Data in bulk goes past the link, if the session lets it: CopyData to a COPY that reads it; rows and CopyData from the server. In front stand the
 * `begun` bytes of a message that are still to come, and `left` bytes of the last one are still to come behind them. False, and no change: it
 * has to go through the doors above. */
bool link_pass_copy_data(struct link *l, size_t begun, size_t left);
bool link_pass_rows(struct link *l, size_t begun, size_t left);

/* The link has something for the session although nothing may come from the server: a Flush asked for it. To be asked after every
 * link_on_client(), and behind the last piece of what has come; then link_on_server() is called with whatever input there is. */
bool link_has_due(const struct link *l);

/* What the session had for a server that is not to be had goes nowhere. */
void link_refuse(struct link *l, struct span backlog);
/* How many bytes at the front are the rest of a message that was refused: they go nowhere, and need no server. */
size_t link_drop_refused(struct link *l, struct span bytes);

/* --- a client that does nothing ------------------------------------------------------------------ */

/* What has to be known of its link, so that it can be made again. For the link alone to look into. */
struct link_asleep {
    struct parameters *base, *wanted, *shown;
    struct link_prepared *prepared; /* NULL: it has prepared nothing */
    const struct encoding *encoding;
    uint16_t roles, asked_roles, settled_roles;
    bool standard_conforming_strings : 1, sql_known : 1;
    bool keeps_server : 1, prepares_unnamed : 1;
};

/* Nothing else would be lost: it has no server, is not in the middle of anything, listens to nothing. */
bool link_may_sleep(const struct link *l);
/* Frees the link, which may sleep. */
void link_sleep(struct link *l, struct link_asleep *out);
/* The link again: but for its buffers as it was, to the last byte. `start` as for link_new(), but `base`, `keeps_server` and
 * `prepares_unnamed` do not count: they are what the client began with, and its statements stand under the names that go with that. */
struct link *link_wake(const struct link_asleep *asleep, const struct link_start *start);

/* --- failure --------------------------------------------------------------------------------------- */

/* Why the link cannot go on with this server, which has to be closed and the client with it (08P01 or 08006); NULL: it can. */
const char *link_error(const struct link *l);
/* With which SQLSTATE. */
const char *link_error_sqlstate(const struct link *l);

/* The reply to a cancel request's end: nothing that comes later may be hit by it. The server is held until it has answered once more. */
void link_on_cancelled(struct link *l, struct actions *out);

#endif
