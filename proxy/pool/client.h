/* A client: its connection, the server it holds, and the session between them.
 *
 * The life of a client is told in three files: startup.c (from accept to the upstream), login.c (authentication, up to the first
 * ReadyForQuery) and traffic.c (the session); client.c holds it together, from the first byte to the last.
 *
 * A client belongs to its worker's thread. It is freed in client_settle() and client_drop() alone. */
#ifndef PROXY_POOL_CLIENT_H
#define PROXY_POOL_CLIENT_H

#include "proxy/net/conn.h"
#include "proxy/pool/server.h"
#include "proxy/pool/stream.h"
#include "proxy/worker.h"

struct session;
struct login;
struct pooled;
struct admin;
struct client_asleep;

enum client_state {
    CLIENT_STARTUP,    /* its first packets */
    CLIENT_CONNECTING, /* the upstream is being dialed */
    CLIENT_LOGIN,      /* authentication is relayed, until the first ReadyForQuery */
    CLIENT_SESSION,    /* the session decides */
    CLIENT_RAW,        /* replication: bytes are passed on as they are */
    CLIENT_ADMIN,      /* the console (ops/admin.h) */
    CLIENT_CANCELLING, /* it brought a cancel request, which is on its way */
    CLIENT_CLOSING     /* what is queued leaves, then it is over */
};

enum { CLIENT_STATES = CLIENT_CLOSING + 1 };

const char *client_state_name(enum client_state state);

struct client {
    struct client *next, **link; /* in its worker's list */
    struct worker *worker;
    uint64_t id;       /* no other client of this process has it */
    uint64_t since_us; /* when it came */
    struct conn conn;
    struct stream stream;    /* of the client's messages */
    struct stream replies;   /* of the server's messages */
    struct buffer deferred;  /* for the server, behind the message that is under way */
    struct server *server;   /* NULL: it has none */
    struct pooled *pooled;   /* NULL: pool = dedicated, or not logged in yet */
    struct login *login;     /* CLIENT_STARTUP to CLIENT_LOGIN; NULL later */
    struct session *session; /* from CLIENT_SESSION on, unless it sleeps */
    struct client_asleep
        *asleep;         /* in CLIENT_SESSION: what is left of `session` and `pooled` (asleep.h); NULL: it is awake */
    struct admin *admin; /* in CLIENT_ADMIN */
    struct cancel_request *cancel;     /* NULL: none is on its way */
    struct control_question *question; /* NULL: no COMMIT is in doubt */
    struct timer *timer;               /* NULL until one is needed */
    uint64_t deadline_us;              /* 0: none */
    uint64_t timer_us;                 /* when the timer will ring, if it runs */
    uint64_t fresh_until_us; /* until then it may begin its first request even if we drain; 0: it has spoken */
    size_t message_limit;    /* limits.message, as it was at startup */
    enum client_state state;
    bool admitted;         /* counts for limits.clients */
    bool from_peer;        /* another process of pgatomic, which passes cancel requests on (P12) */
    bool has_stirred;      /* it has spoken since it was asked whether it may sleep */
    bool held;             /* a message waits for the session to take it; nothing more is read until then */
    bool terminated;       /* its Terminate was taken */
    bool deaf;             /* nothing that it says counts any more */
    bool lost;             /* it is gone, or has left the protocol */
    bool lingering;        /* CLIENT_CLOSING: it gets time to read its last message */
    bool server_lingering; /* CLIENT_CLOSING: the server gets time to finish */
    char name[];           /* "127.0.0.1:53122" */
};

/* --- for the worker ------------------------------------------------------------------------------ */

/* When too many have not shown who they are, the oldest of them goes. */
struct client *client_new(struct worker *w, int fd, const struct address *peer);
/* It is another process of ours. */
void client_know_peer(struct client *c);
static inline bool client_is_pooled(const struct client *c)
{
    return c->pooled != NULL || c->asleep != NULL;
}
static inline struct client *client_next(const struct client *c)
{
    return c->next;
}
/* Ends it as soon as it is between requests: perhaps now, and then it is freed. */
void client_drain(struct client *c);
/* Ends it now, whatever it does (FATAL 57P01). May free it. */
void client_shut_down(struct client *c);
/* Frees it, whatever it waits for. */
void client_drop(struct client *c);
/* The worker's config is a new one. */
void client_reload(struct client *c);

/* --- for startup.c, login.c and traffic.c ---------------------------------------------------------- */

void client_set_state(struct client *c, enum client_state state);
/* When `deadline_us` has passed, the state's time is up; 0: never. */
void client_set_deadline(struct client *c, uint64_t deadline_us);
/* The same as never, and gives its memory back. */
void client_end_timer(struct client *c);
/* server_new()'s on_ready for a client's server. */
void client_on_server_ready(void *owner, bool readable);
/* Logs what happened to this client; `detail` may be NULL. */
void client_log(const struct client *c, enum log_level level, const char *message, const char *detail);
/* Reads what has come on a connection that is about to end, and closes it when its peer has. */
void client_discard_input(struct conn *conn);
/* Begins the end: what is queued for both sides still leaves. With `linger` the client gets time to read its last message. */
void client_close(struct client *c, bool linger);
/* Tells the client FATAL with these words, unless it is in the middle of a message; logs them, and closes. */
void client_refuse(struct client *c, const char *sqlstate, const char *message);
/* The same, with a DETAIL; "": none. */
void client_refuse_in_detail(struct client *c, const char *sqlstate, const char *message, const char *detail);
/* The last act of every callback: watches for what the state wants, or frees the client. */
void client_settle(struct client *c);

#endif
