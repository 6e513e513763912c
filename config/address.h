/* Addresses, as people write them. */
#ifndef CONFIG_ADDRESS_H
#define CONFIG_ADDRESS_H

#include "config/config.h"
#include "config/memory.h"

/* "127.0.0.1:6432", "[::1]:6432", "localhost:6432", "unix:/run/pgatomic" or "unix:/run/pgatomic:6433"; false when it is none of them. */
bool address_parse_listen(const char *text, struct listen_address *address, struct memory *memory);
extern const char address_listen_expected[];
/* There can be a socket for one of them only: both are the same, or one has all addresses of the other's kind. */
bool address_listens_clash(const struct listen_address *one, const struct listen_address *other);

/* False: it is no number from `least` to 65535. */
bool address_parse_port(const char *text, uint16_t least, uint16_t *port);
/* Of IPv4 or IPv6, without brackets. */
bool address_is_numeric(const char *host);
/* An absolute path that leaves room for the name of a socket. */
bool address_is_socket_directory(const char *path);

#endif
