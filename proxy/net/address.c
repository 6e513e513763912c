/* Socket addresses: made from text, and back. */
#include "proxy/net/address.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
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

bool address_set_abstract(struct address *a, const char *name)
{
    size_t size = strlen(name);
    if (size >= sizeof a->un.sun_path)
        return false;
    *a = (struct address){ .size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + size) };
    a->un.sun_family = AF_UNIX;
    memcpy(a->un.sun_path + 1, name, size);
    return true;
}

bool address_of_socket(struct address *a, int fd)
{
    *a = (struct address){ .size = sizeof a->un };
    return getsockname(fd, &a->any, &a->size) == 0;
}

/* A path counts up to its NUL, with which the system may or may not have counted it; an abstract name has no end but its size. */
static bool unix_equal(const struct address *a, const struct address *b)
{
    if (a->un.sun_path[0] != '\0' || b->un.sun_path[0] != '\0')
        return strncmp(a->un.sun_path, b->un.sun_path, sizeof a->un.sun_path) == 0;
    return a->size == b->size && memcmp(&a->un, &b->un, a->size) == 0;
}

bool address_equal(const struct address *a, const struct address *b)
{
    if (a->any.sa_family != b->any.sa_family)
        return false;
    if (a->any.sa_family == AF_INET)
        return a->in.sin_port == b->in.sin_port && a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
    if (a->any.sa_family == AF_INET6)
        return a->in6.sin6_port == b->in6.sin6_port &&
               memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof a->in6.sin6_addr) == 0;
    return a->any.sa_family == AF_UNIX && unix_equal(a, b);
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

static char *put_number(char *at, unsigned number)
{
    char digits[10];
    size_t count = 0;
    do
        digits[count++] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    while (count > 0)
        *at++ = digits[--count];
    return at;
}

/* By hand, for every connection gets a name: the C library takes longer for that than we do for a statement. */
static void format_ipv4(const struct sockaddr_in *in, char *at)
{
    const unsigned char *bytes = (const unsigned char *)&in->sin_addr;
    for (size_t i = 0; i < sizeof in->sin_addr; i++) {
        at = put_number(at, bytes[i]);
        *at++ = i + 1 < sizeof in->sin_addr ? '.' : ':';
    }
    *put_number(at, ntohs(in->sin_port)) = '\0';
}

const char *address_format(const struct address *a, char text[ADDRESS_TEXT_SIZE])
{
    char ip[INET6_ADDRSTRLEN] = "?";
    if (a->any.sa_family == AF_INET) {
        format_ipv4(&a->in, text);
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

struct span address_split(const char *text, uint16_t *port)
{
    static const char socket_name[] = "/.s.PGSQL.";
    const char *colon = strrchr(text, ':'), *name = strstr(text, socket_name);
    *port = 0;
    if (text[0] == '/' || colon == NULL) {
        if (name != NULL)
            *port = (uint16_t)strtoul(name + sizeof socket_name - 1, NULL, 10);
        return span_of(text);
    }
    *port = (uint16_t)strtoul(colon + 1, NULL, 10);
    bool brackets = text[0] == '[' && colon > text + 1 && colon[-1] == ']';
    return span_make(text + brackets, (size_t)(colon - text) - 2u * brackets);
}

bool address_is_unix(const struct address *a)
{
    return a->any.sa_family == AF_UNIX;
}
