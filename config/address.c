/* Addresses, as people write them. */
#include "config/address.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/un.h>

enum { LISTEN_PORT = 6432, LONGEST_SOCKET_NAME = sizeof("/.s.PGSQL.65535") };

const char address_listen_expected[] = "expected an address such as 127.0.0.1:6432, [::]:6432 or unix:/run/pgatomic";

bool address_parse_port(const char *text, uint16_t least, uint16_t *port)
{
    unsigned long number = 0;

    if (*text == '\0')
        return false;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return false;
        number = number * 10 + (unsigned long)(*text - '0');
        if (number > UINT16_MAX)
            return false;
    }
    *port = (uint16_t)number;
    return number >= least;
}

static bool is_family(int family, const char *host)
{
    struct in6_addr ignored;
    return inet_pton(family, host, &ignored) == 1;
}

bool address_is_numeric(const char *host)
{
    return is_family(AF_INET, host) || is_family(AF_INET6, host);
}

bool address_is_socket_directory(const char *path)
{
    return path[0] == '/' && strlen(path) + LONGEST_SOCKET_NAME <= sizeof(((struct sockaddr_un *)0)->sun_path);
}

static bool parse_unix(const char *text, struct listen_address *address, struct memory *memory)
{
    const char *colon = strrchr(text, ':');

    address->is_unix = true;
    address->port = LISTEN_PORT;
    if (colon != NULL && !address_parse_port(colon + 1, 1, &address->port))
        return false;
    size_t size = colon != NULL ? (size_t)(colon - text) : strlen(text);
    address->host = memory_copy_bytes(memory, text, size);
    return address_is_socket_directory(address->host);
}

bool address_parse_listen(const char *text, struct listen_address *address, struct memory *memory)
{
    *address = (struct listen_address){ .text = memory_copy(memory, text) };
    if (strncmp(text, "unix:", 5) == 0)
        return parse_unix(text + 5, address, memory);

    const char *colon = strrchr(text, ':');
    if (colon == NULL || !address_parse_port(colon + 1, 0, &address->port))
        return false;
    size_t size = (size_t)(colon - text);
    if (size > 2 && text[0] == '[' && text[size - 1] == ']') {
        address->host = memory_copy_bytes(memory, text + 1, size - 2);
        return is_family(AF_INET6, address->host);
    }
    address->host = memory_copy_bytes(memory, text, size);
    if (strcmp(address->host, "localhost") == 0)
        address->host = "127.0.0.1";
    return is_family(AF_INET, address->host);
}

/* As the kernel takes it: 0.0.0.0 and [::] are zeros. */
static bool parse_ip(const char *host, int *family, struct in6_addr *ip)
{
    *ip = (struct in6_addr){ 0 };
    *family = strchr(host, ':') != NULL ? AF_INET6 : AF_INET;
    return inet_pton(*family, host, ip) == 1;
}

bool address_listens_clash(const struct listen_address *one, const struct listen_address *other)
{
    struct in6_addr a, b, zeros = { 0 };
    int family, other_family;

    if (one->is_unix != other->is_unix || one->port != other->port || one->host == NULL || other->host == NULL)
        return false;
    if (one->is_unix)
        return strcmp(one->host, other->host) == 0;
    if (one->port == 0 || !parse_ip(one->host, &family, &a) || !parse_ip(other->host, &other_family, &b))
        return false; /* port 0 is another one each time */
    return family == other_family &&
           (memcmp(&a, &b, sizeof a) == 0 || memcmp(&a, &zeros, sizeof a) == 0 || memcmp(&b, &zeros, sizeof b) == 0);
}
