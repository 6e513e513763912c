/* Names to addresses, without making the loop wait.
 *
 * getaddrinfo() blocks, so it runs on a thread of its own, one for a name at a time; connections that ask for the same name wait for
 * one answer together. An answer is remembered for a few seconds, and while no other can be had. */
#ifndef PROXY_NET_RESOLVE_H
#define PROXY_NET_RESOLVE_H

#include "proxy/net/address.h"
#include "proxy/net/loop.h"

struct resolver;
struct resolver_wait;

/* `list` has no ports and lives until the call returns; empty when the name could not be resolved: then `error` says why. */
typedef void resolver_found(void *context, const struct address *list, size_t count, const char *error);

struct resolver *resolver_new(struct loop *l);
/* Threads that are still busy are left to themselves. Nobody may wait any more. */
void resolver_free(struct resolver *r);

/* Calls `found` with what is known of `host`. Either at once, and returns NULL; or later, unless resolver_forget() comes first. */
struct resolver_wait *resolver_find(struct resolver *r, const char *host, resolver_found *found, void *context);
void resolver_forget(struct resolver_wait *wait);

#endif
