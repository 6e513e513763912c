/* Addresses.
 *
 * An upstream is written as for psql, and libpq's own parser takes it apart, so that quoting, URIs and lists mean what they mean
 * there. But pgatomic speaks the protocol itself: of libpq's many parameters it uses those that say where the
 * server is, and refuses the others rather than let one be believed in. */
#include "config/address.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include <libpq-fe.h>

#include "config/conninfo.h"

enum { POSTGRESQL_PORT = 5432, LISTEN_PORT = 6432, LONGEST_SOCKET_NAME = sizeof("/.s.PGSQL.65535"), MAX_HOSTS = 64 };

const char address_listen_expected[] = "expected an address such as 127.0.0.1:6432, [::]:6432 or unix:/run/pgatomic";

static bool parse_port(const char *text, uint16_t least, uint16_t *port)
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

static bool is_address(int family, const char *host)
{
    struct in6_addr ignored;
    return inet_pton(family, host, &ignored) == 1;
}

static bool is_socket_directory(const char *path)
{
    return path[0] == '/' && strlen(path) + LONGEST_SOCKET_NAME <= sizeof(((struct sockaddr_un *)0)->sun_path);
}

static bool parse_unix(const char *text, struct listen_address *address, struct memory *memory)
{
    const char *colon = strrchr(text, ':');

    address->is_unix = true;
    address->port = LISTEN_PORT;
    if (colon != NULL && !parse_port(colon + 1, 1, &address->port))
        return false;
    size_t size = colon != NULL ? (size_t)(colon - text) : strlen(text);
    address->host = memory_copy_bytes(memory, text, size);
    return is_socket_directory(address->host);
}

bool address_parse_listen(const char *text, struct listen_address *address, struct memory *memory)
{
    *address = (struct listen_address){ .text = memory_copy(memory, text) };
    if (strncmp(text, "unix:", 5) == 0)
        return parse_unix(text + 5, address, memory);

    const char *colon = strrchr(text, ':');
    if (colon == NULL || !parse_port(colon + 1, 0, &address->port))
        return false;
    size_t size = (size_t)(colon - text);
    if (size > 2 && text[0] == '[' && text[size - 1] == ']') {
        address->host = memory_copy_bytes(memory, text + 1, size - 2);
        return is_address(AF_INET6, address->host);
    }
    address->host = memory_copy_bytes(memory, text, size);
    if (strcmp(address->host, "localhost") == 0)
        address->host = "127.0.0.1";
    return is_address(AF_INET, address->host);
}

/* What a connection string said; NULL: nothing. */
struct upstream {
    const char *host, *hostaddr, *port, *dbname;
};

struct upstream_reader {
    struct upstream said;
    int line;
    struct config_errors *errors;
    bool failed;
};

static void fail(struct upstream_reader *r, const char *what)
{
    errors_add(r->errors, r->line, "upstream: %s", what);
    r->failed = true;
}

static void fail_parameter(struct upstream_reader *r, const char *name, const char *what)
{
    errors_add(r->errors, r->line, "upstream: %s= is not %s", name, what);
    r->failed = true;
}

static bool is_one_of(const char *text, const char *const *list)
{
    while (*list != NULL && strcmp(*list, text) != 0)
        list++;
    return *list != NULL;
}

static void take_parameter(struct upstream_reader *r, const char *name, const char *value)
{
    static const char *const ssl_without[] = { "disable", "allow", "prefer", NULL };
    static const char *const gss_without[] = { "disable", "prefer", NULL };

    if (strcmp(name, "host") == 0)
        r->said.host = value;
    else if (strcmp(name, "hostaddr") == 0)
        r->said.hostaddr = value;
    else if (strcmp(name, "port") == 0)
        r->said.port = value;
    else if (strcmp(name, "dbname") == 0)
        r->said.dbname = value;
    else if (strcmp(name, "user") == 0 || strcmp(name, "password") == 0)
        fail_parameter(r, name, "used with auth method passthrough: every client logs in as itself");
    else if (strcmp(name, "sslmode") == 0 && is_one_of(value, ssl_without))
        return;
    else if (strcmp(name, "sslmode") == 0)
        fail(r, "TLS to the upstream is not supported by this version of pgatomic: expected sslmode=disable");
    else if (strcmp(name, "gssencmode") == 0 && is_one_of(value, gss_without))
        return;
    else if (strcmp(name, "target_session_attrs") == 0 && strcmp(value, "any") == 0)
        return;
    else if (strcmp(name, "connect_timeout") == 0)
        fail(r, "connect_timeout is an option of the database block: write connect_timeout = 5s there");
    else
        fail_parameter(r, name, "supported by this version of pgatomic: expected host, hostaddr, port and dbname");
}

static size_t count_items(const char *list)
{
    size_t count = 1;

    for (; *list != '\0'; list++)
        count += *list == ',';
    return count;
}

/* The item at `index` of a comma-separated list; "" past its end. */
static char *list_item(const char *list, size_t index, struct memory *memory)
{
    for (; index > 0; index--) {
        list += strcspn(list, ",");
        if (*list == ',')
            list++;
    }
    return memory_copy_bytes(memory, list, strcspn(list, ","));
}

static bool is_host(const char *host)
{
    if (host[0] == '/')
        return is_socket_directory(host);
    return host[0] != '\0' && host[0] != '@';
}

/* One host, as libpq takes them: hostaddr before host, one port for all or one for each, an empty one the default. */
static void take_host(struct upstream_reader *r, size_t index, const char **host, uint16_t *port, struct memory *memory)
{
    const char *port_text = "";

    *host = r->said.hostaddr != NULL ? list_item(r->said.hostaddr, index, memory) : "";
    if (**host != '\0' && !is_address(AF_INET, *host) && !is_address(AF_INET6, *host))
        fail(r, "hostaddr= expects numeric addresses");
    if (**host == '\0' && r->said.host != NULL)
        *host = list_item(r->said.host, index, memory);
    if (!is_host(*host))
        fail(r, "expected a host name, an address, or the directory of a unix socket in host=");

    if (r->said.port != NULL)
        port_text = list_item(r->said.port, count_items(r->said.port) == 1 ? 0 : index, memory);
    *port = POSTGRESQL_PORT;
    if (*port_text != '\0' && !parse_port(port_text, 1, port))
        fail(r, "expected numbers from 1 to 65535 in port=");
}

static void take_hosts(struct upstream_reader *r, struct database *d, struct memory *memory)
{
    const char *list = r->said.hostaddr != NULL ? r->said.hostaddr : r->said.host;

    if (list == NULL || *list == '\0') {
        fail(r, "names no server: expected host=, with a name, an address, or the directory of a unix socket");
        return;
    }
    size_t count = count_items(list);
    if (count > MAX_HOSTS) {
        fail(r, "names too many servers: expected at most 64");
        return;
    }
    if (r->said.host != NULL && count_items(r->said.host) != count) {
        fail(r, "host= and hostaddr= have different numbers of items");
        return;
    }
    if (r->said.port != NULL && count_items(r->said.port) != 1 && count_items(r->said.port) != count) {
        fail(r, "host= and port= have different numbers of items");
        return;
    }

    const char **hosts = memory_take(memory, (count + 1) * sizeof *hosts);
    uint16_t *ports = memory_take(memory, count * sizeof *ports);
    for (size_t i = 0; i < count && !r->failed; i++)
        take_host(r, i, &hosts[i], &ports[i], memory);
    d->hosts = hosts;
    d->ports = ports;
}

bool address_parse_upstream(struct database *d, struct memory *memory, int line, struct config_errors *errors)
{
    struct upstream_reader r = { .line = line, .errors = errors };
    char *words = NULL;
    PQconninfoOption *parameters = PQconninfoParse(d->upstream, &words);

    if (parameters == NULL) {
        conninfo_refuse(d->upstream, words, "upstream", line, errors);
        PQfreemem(words);
        return false;
    }
    for (PQconninfoOption *p = parameters; p->keyword != NULL; p++)
        if (p->val != NULL)
            take_parameter(&r, p->keyword, p->val);
    if (!r.failed)
        take_hosts(&r, d, memory);
    if (r.said.dbname != NULL && *r.said.dbname != '\0')
        d->dbname = memory_copy(memory, r.said.dbname);
    PQconninfoFree(parameters);
    return !r.failed;
}

bool address_prefers_tls(const char *upstream)
{
    bool prefers = true;
    PQconninfoOption *parameters = PQconninfoParse(upstream, NULL);

    for (PQconninfoOption *p = parameters; p != NULL && p->keyword != NULL; p++)
        if (strcmp(p->keyword, "sslmode") == 0 && p->val != NULL)
            prefers = strcmp(p->val, "prefer") == 0;
    PQconninfoFree(parameters);
    return prefers;
}
