/* What both sides of a login have in common.
 *
 *     struct client_auth *a = client_auth_new(&start);
 *     enum auth_state state = client_auth_begin(a, &out);
 *     while (state == AUTH_MORE)
 *         send out; state = client_auth_answer(a, body of the next 'p', &out);
 *
 * A machine is pure: it is handed the bodies of messages and appends the messages to send; random numbers come from its caller. */
#ifndef PROXY_AUTH_AUTH_H
#define PROXY_AUTH_AUTH_H

#include "protocol/buffer.h"

enum auth_state {
    AUTH_MORE,  /* what was appended has to be sent; the peer answers */
    AUTH_OK,    /* over, well */
    AUTH_FAILED /* over; the fault says why */
};

/* Fills `to` with bytes that nobody can guess. */
struct auth_random {
    void (*fill)(void *context, void *to, size_t size);
    void *context;
};

/* The words of a failure. Neither text holds a secret. */
struct auth_fault {
    const char *sqlstate;
    char *message; /* for the client: the same for an unknown user and for a wrong password */
    char *detail;  /* for the log, which may tell them apart; NULL: nothing to add */
};

/* --- for the machines ----------------------------------------------------------------------------- */

void auth_fault_say(struct auth_fault *f, const char *sqlstate, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void auth_fault_detail(struct auth_fault *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
void auth_fault_free(struct auth_fault *f);

#endif
