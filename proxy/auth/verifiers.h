/* SCRAM verifiers of plain secrets, kept.
 *
 * To make one is slow on purpose: it is what a thief of verifiers would have to do for every guess. Here the secret itself is at hand, and who
 * connects for each request would have us do it each time. So it is done for a user's first login, and kept: in memory alone, those that were
 * asked for last, without the secret, up to a reload. Of one thread. */
#ifndef PROXY_AUTH_VERIFIERS_H
#define PROXY_AUTH_VERIFIERS_H

#include "protocol/scram.h"

enum { VERIFIERS_MOST = 1000 };

struct kept_verifier;

/* One a worker; zeroed. */
struct verifiers {
    struct kept_verifier *newest;
    size_t count;
    size_t made; /* how often one had to be, so far */
};

/* Makes `v`, which has its salt and iterations, the verifier of `password`; kept for `user`, whose salt is always the same. */
void verifiers_make(struct verifiers *all, struct span user, struct span password, struct scram_verifier *v);
void verifiers_forget(struct verifiers *all);

#endif
