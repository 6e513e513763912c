/* The server's side of one exchange: pgatomic lets a client in.
 *
 *     client  n,,n=,r=<nonce>                              scram_server_first
 *     server                     r=<nonce+ours>,s=…,i=…
 *     client  c=…,r=<both>,p=<proof>                       scram_server_final
 *     server                     v=<signature>
 */
#ifndef PROTOCOL_SCRAM_SERVER_H
#define PROTOCOL_SCRAM_SERVER_H

#include "protocol/scram.h"

struct scram_server {
    struct scram_verifier verifier;
    bool doomed; /* no proof is good enough */
    char flag;   /* of the client's channel binding: 'n', 'y' or 'p' */
    size_t binding_size;
    unsigned char binding[SCRAM_BINDING_MOST];
    struct buffer nonce;    /* both halves */
    struct buffer messages; /* what the proof signs: client-first-bare, server-first */
    struct scram_keys keys;
    struct scram_fault fault;
};

/* `doomed`: for mock authentication. `certificate_hash`: tls-server-end-point of our certificate, at most SCRAM_BINDING_MOST bytes; empty:
 * -PLUS is not offered. */
void scram_server_init(struct scram_server *s, const struct scram_verifier *v, bool doomed,
                       struct span certificate_hash);
/* Overwrites what is secret. */
void scram_server_reset(struct scram_server *s);

/* `plus`: the client chose SCRAM-SHA-256-PLUS. `nonce`: of scram_nonce_make(). */
enum scram_result scram_server_first(struct scram_server *s, bool plus, struct span message, struct span nonce,
                                     struct buffer *reply);
/* SCRAM_DONE: the client knows the password, `reply` proves that we know its verifier, and s->keys are the client's. */
enum scram_result scram_server_final(struct scram_server *s, struct span message, struct buffer *reply);

#endif
