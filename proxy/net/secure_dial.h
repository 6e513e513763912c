/* Connects to a server of PostgreSQL: dials its hosts, and agrees with the one that answers on TLS.
 *
 * As libpq does it: unix sockets go without, `prefer` goes without where the server does not want it, the other modes
 * go on to the next address instead. Whatever has to be settled takes place before a word of the protocol is said, so what is
 * delivered is ready for a StartupMessage or a CancelRequest. */
#ifndef PROXY_NET_SECURE_DIAL_H
#define PROXY_NET_SECURE_DIAL_H

#include "proxy/net/dial.h"
#include "proxy/net/tls.h"
#include "proxy/net/tls_source.h"

/* How TLS is spoken with somebody. */
struct secure_manner {
    struct tls_source *source; /* NULL: not at all */
    bool direct;               /* without asking first */
};

struct secure_targets {
    struct dial_targets dial; /* timeout_ms: for all that is to be settled with an address, too */
    const char *const *names; /* one a host: whom its certificate has to be for */
    struct secure_manner manner;
};

/* How a connection was made, so that another one can be made to the same server. */
struct secure_way {
    struct address address;
    struct secure_manner manner; /* without a source when it was made without TLS */
    const char *name;            /* whom its certificate is for; lives as long as the process */
    struct tcp_options tcp;      /* nothing for unix sockets */
};

/* A connection that is made. The socket and what is established on it are the callee's; see conn_continue_tls(). */
struct secure_connection {
    int fd;
    struct tls *tls; /* NULL: plain */
    size_t host;     /* which of the targets */
    struct secure_way way;
};

struct secure_dial;

/* `made` NULL: nobody can be reached, and `error` says for each address that was tried what went wrong, one a line. */
typedef void secure_dial_done(void *context, const struct secure_connection *made, const char *error);

/* What the hosts of a database are; points into it. */
struct secure_targets secure_targets_of(const struct database *d);

/* `targets` points to what outlives the dial. `done` is never called before this returns. */
struct secure_dial *secure_dial_hosts(struct loop *l, struct resolver *r, const struct secure_targets *targets,
                                      secure_dial_done *done, void *context);
/* To one address, in the manner of `way`, which outlives the dial. */
struct secure_dial *secure_dial_way(struct loop *l, const struct secure_way *way, uint64_t timeout_ms,
                                    secure_dial_done *done, void *context);
/* `done` will not be called any more. NULL: nothing. */
void secure_dial_cancel(struct secure_dial *s);

/* In `done`: the server may turn out not to be wanted (target_session_attrs). The dial stays, for secure_dial_next() or, when it is settled,
 * secure_dial_cancel(). */
void secure_dial_keep(struct secure_dial *s);
/* Goes on behind a server that was not what is wanted, for this reason; its connection is the caller's. */
void secure_dial_next(struct secure_dial *s, const char *why);

#endif
