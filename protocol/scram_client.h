/* The client's side of one exchange: pgatomic logs into a server. See scram_server.h for the messages. */
#ifndef PROTOCOL_SCRAM_CLIENT_H
#define PROTOCOL_SCRAM_CLIENT_H

#include "protocol/scram.h"

/* What is said of the TLS connection. */
enum scram_channel {
    SCRAM_UNBOUND, /* there is none, or nothing to bind with */
    SCRAM_NOT_OFFERED, /* we would bind, but the server did not offer -PLUS: it finds out when somebody took the offer away */
    SCRAM_BOUND        /* SCRAM-SHA-256-PLUS */
};

/* Either `keys`, or a password. */
struct scram_login {
    const struct scram_keys *keys; /* NULL: by password */
    struct span password;
};

struct scram_client {
    enum scram_channel channel;
    size_t binding_size;
    unsigned char binding[SCRAM_BINDING_MOST];
    struct buffer nonce;    /* ours */
    struct buffer messages; /* what the proof signs: client-first-bare, server-first, client-final without its proof */
    unsigned char server_key[SCRAM_KEY_SIZE];
    struct scram_fault fault;
};

/* `certificate_hash`: for SCRAM_BOUND, at most SCRAM_BINDING_MOST bytes. */
void scram_client_init(struct scram_client *c, enum scram_channel channel, struct span certificate_hash);
/* Overwrites what is secret. */
void scram_client_reset(struct scram_client *c);

/* `nonce`: of scram_nonce_make(). */
void scram_client_first(struct scram_client *c, struct span nonce, struct buffer *message);
/* SCRAM_MORE: `message` is to be sent. With a password it takes as long as the server's iterations say. */
enum scram_result scram_client_final(struct scram_client *c, struct span server_first, const struct scram_login *login,
                                     struct buffer *message);
/* SCRAM_DONE: the server knows the user's secret, too. */
enum scram_result scram_client_verify(struct scram_client *c, struct span server_final);

#endif
