/* Who a client is, in the words by which its route is chosen. Many clients are the same, so those of one thread share them. */
#ifndef PROXY_SESSION_ATTRIBUTES_H
#define PROXY_SESSION_ATTRIBUTES_H

#include "config/config.h"

/* Those that are in use on one thread; a zeroed one is empty, and so it is again when all are released. */
struct shared_attributes {
    void *tree;
};

/* The one of these words, which are copied if it is a new one; a reference. `all` NULL: one that is shared with nobody. */
const struct request_attributes *attributes_share(struct shared_attributes *all,
                                                  const struct request_attributes *words);
void attributes_release(struct shared_attributes *all, const struct request_attributes *take);

#endif
