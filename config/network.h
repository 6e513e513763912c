/* Networks that clients come from: 10.0.0.0/8, ::1, unix. */
#ifndef CONFIG_NETWORK_H
#define CONFIG_NETWORK_H

#include <stdbool.h>
#include <stdint.h>

struct sockaddr;

enum network_family { NETWORK_IPV4, NETWORK_IPV6, NETWORK_UNIX };

struct network {
    enum network_family family;
    uint8_t address[16]; /* 4 bytes of it for IPv4 */
    unsigned bits;       /* of `address` that count; the others are zero */
};

/* An address, one with the length of a prefix behind /, or "unix" for all unix sockets; false when it is none of them, or has bits set
 * behind its prefix. */
bool network_parse(const char *text, struct network *n);
extern const char network_expected[];
/* An IPv4 address that a socket for IPv6 shows as ::ffff:10.0.0.1 is one of IPv4. */
bool network_has(const struct network *n, const struct sockaddr *peer);

#endif
