/* Socket addresses: made from text, and back. */
#include "proxy/net/address.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* False: what snprintf() wrote of the path was not all of it. */
static bool is_whole_path(const struct address *a, int length)
{
    return length > 0 && (size_t)length < sizeof a->un.sun_path;
}

bool address_set_unix(struct address *a, const char *directory, uint16_t port)
{
    *a = (struct address){ .size = sizeof a->un };
    a->un.sun_family = AF_UNIX;
    return is_whole_path(a, snprintf(a->un.sun_path, sizeof a->un.sun_path, "%s/.s.PGSQL.%u", directory, port));
}

bool address_set_path(struct address *a, const char *path)
{
    *a = (struct address){ .size = sizeof a->un };
    a->un.sun_family = AF_UNIX;
    return is_whole_path(a, snprintf(a->un.sun_path, sizeof a->un.sun_path, "%s", path));
}

bool address_set_ip(struct address *a, const char *text, uint16_t port)
{
    char bare[INET6_ADDRSTRLEN + 2] = "";
    size_t size = strlen(text);
    if (size >= 2 && text[0] == '[' && text[size - 1] == ']') {
        text += 1;
        size -= 2;
    }
    if (size >= sizeof bare)
        return false;
    memcpy(bare, text, size);

    *a = (struct address){ 0 };
    if (inet_pton(AF_INET, bare, &a->in.sin_addr) == 1) {
        a->size = sizeof a->in;
        a->in.sin_family = AF_INET;
    } else if (inet_pton(AF_INET6, bare, &a->in6.sin6_addr) == 1) {
        a->size = sizeof a->in6;
        a->in6.sin6_family = AF_INET6;
    } else {
        return false;
    }
    address_set_port(a, port);
    return true;
}

void address_set_port(struct address *a, uint16_t port)
{
    if (a->any.sa_family == AF_INET)
        a->in.sin_port = htons(port);
    else if (a->any.sa_family == AF_INET6)
        a->in6.sin6_port = htons(port);
}

const char *address_format(const struct address *a, char text[ADDRESS_TEXT_SIZE])
{
    char ip[INET6_ADDRSTRLEN] = "?";
    if (a->any.sa_family == AF_INET) {
        inet_ntop(AF_INET, &a->in.sin_addr, ip, sizeof ip);
        snprintf(text, ADDRESS_TEXT_SIZE, "%s:%u", ip, ntohs(a->in.sin_port));
    } else if (a->any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &a->in6.sin6_addr, ip, sizeof ip);
        snprintf(text, ADDRESS_TEXT_SIZE, "[%s]:%u", ip, ntohs(a->in6.sin6_port));
    } else if (a->size > offsetof(struct sockaddr_un, sun_path) && a->un.sun_path[0] != '\0') {
        snprintf(text, ADDRESS_TEXT_SIZE, "%.*s", (int)sizeof a->un.sun_path, a->un.sun_path);
    } else {
        snprintf(text, ADDRESS_TEXT_SIZE, "unix");
    }
    return text;
}

bool address_is_unix(const struct address *a)
{
    return a->any.sa_family == AF_UNIX;
}
