/* What contexts for servers are made from, so that all connections of all threads share one.
 *
 * There is one source for each different set of options. It is never taken away: whoever has one may keep it. */
#ifndef PROXY_NET_TLS_SOURCE_H
#define PROXY_NET_TLS_SOURCE_H

#include "proxy/net/tls_context.h"

struct tls_source;

/* The source for these options, of the side that connects. From any thread, as all of these. */
struct tls_source *tls_source_find(const struct tls_options *o);
/* The same text, which lives as long as the source: a name of one of the hosts that it is for. */
const char *tls_source_keep_name(struct tls_source *s, const char *name);
enum tls_mode tls_source_mode(const struct tls_source *s);
/* Reads its files, again. False: they cannot be used, and what was read before stays. */
bool tls_source_read(struct tls_source *s, char error[TLS_ERROR_SIZE]);
/* A reference to what was read last; NULL: nothing could be. */
struct tls_context *tls_source_context(struct tls_source *s, char error[TLS_ERROR_SIZE]);

#endif
