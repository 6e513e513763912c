/* Bits of addresses, in network byte order, of which a prefix must be the same. */
#include "config/network.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>

const char network_expected[] = "expected addresses or networks such as 127.0.0.1, 10.0.0.0/8, ::1 or fd00::/8, or "
                                "unix; behind a prefix all bits are zero";

static unsigned most_bits(enum network_family family)
{
    return family == NETWORK_IPV4 ? 32 : family == NETWORK_IPV6 ? 128 : 0;
}

static bool parse_address(const char *text, struct network *n)
{
    n->family = strchr(text, ':') != NULL ? NETWORK_IPV6 : NETWORK_IPV4;
    return inet_pton(n->family == NETWORK_IPV6 ? AF_INET6 : AF_INET, text, n->address) == 1;
}

static bool parse_bits(const char *text, struct network *n)
{
    size_t size = strspn(text, "0123456789");

    if (size == 0 || size > 3 || text[size] != '\0' || (text[0] == '0' && size > 1))
        return false;
    n->bits = 0;
    for (; *text != '\0'; text++)
        n->bits = n->bits * 10 + (unsigned)(*text - '0');
    return n->bits <= most_bits(n->family);
}

/* Which bits of the byte at `index` are in front of the end of the prefix. */
static uint8_t mask_of(unsigned bits, unsigned index)
{
    unsigned ahead = bits <= index * 8 ? 0 : bits - index * 8;

    return (uint8_t)(ahead >= 8 ? 0xff : (0xff00u >> ahead) & 0xff);
}

static bool is_zero_behind(const struct network *n)
{
    for (unsigned i = 0; i < most_bits(n->family) / 8; i++)
        if ((n->address[i] & ~mask_of(n->bits, i)) != 0)
            return false;
    return true;
}

bool network_parse(const char *text, struct network *n)
{
    char address[INET6_ADDRSTRLEN] = "";
    const char *slash = strchr(text, '/');
    size_t size = slash != NULL ? (size_t)(slash - text) : strlen(text);

    *n = (struct network){ .family = NETWORK_UNIX };
    if (strcmp(text, "unix") == 0)
        return true;
    if (size >= sizeof address)
        return false;
    memcpy(address, text, size);
    if (!parse_address(address, n))
        return false;
    n->bits = most_bits(n->family);
    return (slash == NULL || parse_bits(slash + 1, n)) && is_zero_behind(n);
}

/* The network of this one address; false for another family than ours. */
static bool network_of(const struct sockaddr *peer, struct network *n)
{
    if (peer->sa_family == AF_UNIX) {
        n->family = NETWORK_UNIX;
        return true;
    }
    if (peer->sa_family == AF_INET) {
        n->family = NETWORK_IPV4;
        memcpy(n->address, &((const struct sockaddr_in *)(const void *)peer)->sin_addr, 4);
        return true;
    }
    if (peer->sa_family != AF_INET6)
        return false;
    const struct in6_addr *address = &((const struct sockaddr_in6 *)(const void *)peer)->sin6_addr;
    bool is_mapped = IN6_IS_ADDR_V4MAPPED(address);
    n->family = is_mapped ? NETWORK_IPV4 : NETWORK_IPV6;
    memcpy(n->address, address->s6_addr + (is_mapped ? 12 : 0), is_mapped ? 4 : 16);
    return true;
}

bool network_has(const struct network *n, const struct sockaddr *peer)
{
    struct network one = { .bits = 0 };

    if (!network_of(peer, &one) || one.family != n->family)
        return false;
    for (unsigned i = 0; i < most_bits(n->family) / 8; i++)
        if ((one.address[i] & mask_of(n->bits, i)) != n->address[i])
            return false;
    return true;
}
