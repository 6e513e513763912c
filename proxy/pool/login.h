/* From a client's first byte to its first ReadyForQuery.
 *
 * What is learnt on the way, to be handed to the session; it goes when the session begins. */
#ifndef PROXY_POOL_LOGIN_H
#define PROXY_POOL_LOGIN_H

#include "config/config.h"
#include "protocol/buffer.h"
#include "proxy/net/address.h"
#include "proxy/pool/strangers.h"
#include "proxy/session/session.h"

struct client;
struct frame;
struct pooled_login;
struct admission;
struct server_auth;

enum { LOGIN_TIMEOUT_US = 60 * 1000 * 1000, LOGIN_ENCODING_SIZE = 32 };

struct login {
    struct stranger stranger; /* until it has shown who it is */
    struct address peer; /* as it was when the connection was accepted: one that was reset since has none any more */
    bool ssl_asked, gssenc_asked;
    bool begun;      /* its first byte was looked at */
    bool direct_tls; /* it began with a handshake, without asking */

    /* from the StartupMessage */
    struct config *config;           /* a reference: the rules as they were then */
    const struct database *upstream; /* the block for the database that was asked for */
    char *user, *database, *application;
    char *label; /* NULL: none */
    bool replication;
    struct buffer packet; /* the StartupMessage for the upstream, until it is settled which of its hosts it is for */

    /* from the upstream's replies */
    bool answer_wanted; /* the client has been asked for a password or the like, by whomever */
    bool refused;       /* it has sent an error, which the client got */
    bool let_in;        /* it has let in whom pgatomic has logged in as, after all that it had to show */
    char encoding[LOGIN_ENCODING_SIZE], server_encoding[LOGIN_ENCODING_SIZE];
    bool standard_conforming_strings;
    bool default_read_only;

    enum auth_method method;         /* how the client has to show who it is */
    struct admission *admission;     /* NULL: the upstream authenticates the client */
    struct server_auth *server_auth; /* of a dedicated server, when it does not */
    struct buffer said;              /* to a client of a dedicated server before it was admitted */
    struct pooled_login *pooled;     /* NULL: dedicated */
};

/* What a server's ParameterStatus messages say that a session has to know. */
struct login_told {
    char encoding[LOGIN_ENCODING_SIZE], server_encoding[LOGIN_ENCODING_SIZE];
    bool standard_conforming_strings;
    bool default_read_only;
    char *application;
};

struct login *login_new(const struct address *peer);
void login_free(struct login *l); /* NULL: nothing */

/* startup.c: bytes are there in CLIENT_STARTUP. */
void startup_on_client_input(struct client *c);

/* login.c: the client's answer at the front of `input`, when one was asked for. False: there is none yet, or something else, for which the
 * client was refused. *used: how much of the input is done with. */
bool login_cut_answer(struct client *c, struct span input, struct frame *f, size_t *used);
/* A ParameterStatus is for the client. */
void login_on_parameter(struct login *l, const struct frame *f);
/* What they have said so far, and the same for another client; `out->application` is the caller's to free. */
void login_tell(const struct login *l, struct login_told *out);
void login_believe(struct login *l, const struct login_told *told);
/* What a session may ask of its client's worker, and shares there. */
struct session_start login_session_start(const struct client *c);
/* The session begins with what is known; the login is over. */
void login_begin_session(struct client *c);
/* Appends what tells a client whom it talks to. */
void login_append_version(struct buffer *out);

/* login.c: a host of the upstream is connected, or has been for too long. */
void login_begin(struct client *c);
void login_on_server_late(void *owner);
void login_on_client_input(struct client *c);
void login_on_server_input(struct client *c);

#endif
