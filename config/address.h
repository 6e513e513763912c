/* Where to listen, and where the upstream is. */
#ifndef CONFIG_ADDRESS_H
#define CONFIG_ADDRESS_H

#include "config/config.h"
#include "config/errors.h"
#include "config/memory.h"

/* "127.0.0.1:6432", "[::1]:6432", "localhost:6432", "unix:/run/pgatomic" or "unix:/run/pgatomic:6433"; false when it is none of them. */
bool address_parse_listen(const char *text, struct listen_address *address, struct memory *memory);
extern const char address_listen_expected[];

/* Fills in hosts, ports and dbname from d->upstream, a libpq connection string or URI. What it asks for and this version cannot do is an
 * error at `line`. Never repeats what may be a password. */
bool address_parse_upstream(struct database *d, struct memory *memory, int line, struct config_errors *errors);
/* TLS would be tried with this connection string if this version could. */
bool address_prefers_tls(const char *upstream);

#endif
