/* A socket address, and how people write it. */
#ifndef PROXY_NET_ADDRESS_H
#define PROXY_NET_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "protocol/span.h"

struct address {
    socklen_t size;
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    };
};

enum { ADDRESS_TEXT_SIZE = sizeof(struct sockaddr_un) + 16 };

/* The socket of PostgreSQL's name in `directory`: .s.PGSQL.PORT. False: the path is too long for a socket. */
bool address_set_unix(struct address *a, const char *directory, uint16_t port);
/* A unix socket by its own path. False: the path is too long. */
bool address_set_path(struct address *a, const char *path);
/* A numeric IPv4 or IPv6 address, the latter with or without brackets. False: it is not one. */
bool address_set_ip(struct address *a, const char *text, uint16_t port);
void address_set_port(struct address *a, uint16_t port); /* nothing to a unix socket */
/* "127.0.0.1:5432", "[::1]:5432", the path of a unix socket, or "unix" for the nameless end of one. */
const char *address_format(const struct address *a, char text[ADDRESS_TEXT_SIZE]);
/* The first half of what address_format() wrote, without brackets; and in *port the other half: that of a unix socket of PostgreSQL's name is the
 * one in the name, and others have 0. */
struct span address_split(const char *text, uint16_t *port);
bool address_is_unix(const struct address *a);
/* A name in the abstract namespace, which has no file: "pgatomic/0/…". False: it is too long. */
bool address_set_abstract(struct address *a, const char *name);
/* Where this socket is bound. */
bool address_of_socket(struct address *a, int fd);
bool address_equal(const struct address *a, const struct address *b);

#endif
