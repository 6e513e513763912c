/* From host names to addresses.
 *
 * A conninfo may list several hosts, and each may have several addresses. libpq takes lists of the same length for host, hostaddr
 * and port; a host stands in them once for each of its addresses, under its own name, which TLS verifies. One that cannot be
 * resolved is left out, like one that does not answer. Names are resolved anew for each attempt. The list is a ring: which host is the
 * first to try is said by pq_target_turn(). */
#include "proxy/events/pq_target.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "protocol/buffer.h"
#include "protocol/memory.h"

struct pq_target {
    struct resolver *resolver;
    char *conninfo, *dbname; /* NULL: the conninfo's */
    pq_target_started *started;
    void *context;

    PQconninfoOption *options; /* of the attempt that is made */
    size_t count, at;          /* hosts; how many of them are resolved */
    size_t turns;              /* the first one's place in the conninfo, but for full rounds */
    struct resolver_wait *wait;
    bool asking;                                   /* the resolver may answer before it returns */
    struct buffer hosts, addresses, ports, errors; /* the lists for libpq */
};

struct pq_target *pq_target_new(struct resolver *r, const char *conninfo, const char *dbname,
                                pq_target_started *started, void *context)
{
    struct pq_target *t = or_abort(calloc(1, sizeof *t));
    t->resolver = r;
    t->conninfo = memory_copy_text(conninfo);
    t->dbname = dbname != NULL ? memory_copy_text(dbname) : NULL;
    t->started = started;
    t->context = context;
    return t;
}

void pq_target_stop(struct pq_target *t)
{
    if (t->wait != NULL)
        resolver_forget(t->wait);
    t->wait = NULL;
    PQconninfoFree(t->options);
    t->options = NULL;
    t->count = t->at = 0;
    buffer_clear(&t->hosts);
    buffer_clear(&t->addresses);
    buffer_clear(&t->ports);
    buffer_clear(&t->errors);
}

void pq_target_free(struct pq_target *t)
{
    if (t == NULL)
        return;
    pq_target_stop(t);
    buffer_free(&t->hosts);
    buffer_free(&t->addresses);
    buffer_free(&t->ports);
    buffer_free(&t->errors);
    free(t->conninfo);
    free(t->dbname);
    free(t);
}

/* --- lists ------------------------------------------------------------------------------------- */

static const char *option(const struct pq_target *t, const char *keyword)
{
    for (const PQconninfoOption *o = t->options; o->keyword != NULL; o++)
        if (strcmp(o->keyword, keyword) == 0)
            return o->val != NULL ? o->val : "";
    return "";
}

static size_t list_count(const char *list)
{
    size_t count = 1;
    for (const char *c = list; *c != '\0'; c++)
        count += *c == ',';
    return count;
}

/* An empty one when there are not so many. */
static struct span list_element(const char *list, size_t index)
{
    const char *at = list;
    for (; index > 0; index--) {
        at += strcspn(at, ",");
        if (*at == '\0')
            return span_of("");
        at++;
    }
    return span_make(at, strcspn(at, ","));
}

static void list_append(struct buffer *list, bool first, struct span element)
{
    if (!first)
        buffer_append_text(list, ",");
    buffer_append_span(list, element);
}

/* Where the host that is resolved stands in the conninfo. */
static size_t place(const struct pq_target *t)
{
    return (t->turns + t->at) % t->count;
}

static struct span host_name(const struct pq_target *t)
{
    return list_element(option(t, "host"), place(t));
}

/* One more way to the host that is resolved. */
static void add_way(struct pq_target *t, const char *address)
{
    const char *ports = option(t, "port");
    bool first = t->hosts.size == 0;
    list_append(&t->hosts, first, host_name(t));
    list_append(&t->addresses, first, span_of(address));
    list_append(&t->ports, first, list_element(ports, list_count(ports) > 1 ? place(t) : 0));
}

/* --- starting ---------------------------------------------------------------------------------- */

static void finish(struct pq_target *t, PGconn *pg, const char *error)
{
    t->started(t->context, pg, error);
}

enum { KEYWORDS_MAX = 96 };

/* Of a keyword that comes twice libpq takes the last. */
struct keywords {
    const char *names[KEYWORDS_MAX + 1], *values[KEYWORDS_MAX + 1];
    size_t count;
};

static void add_keyword(struct keywords *k, const char *name, const char *value)
{
    if (value == NULL || k->count == KEYWORDS_MAX)
        return;
    k->names[k->count] = name;
    k->values[k->count++] = value;
}

/* NULL for lists: as the conninfo has it. A network that has gone silent is noticed within a minute, unless the conninfo wants
 * otherwise; text is always UTF-8. */
static void start_libpq(struct pq_target *t, const char *hosts, const char *addresses, const char *ports)
{
    struct keywords k = { .count = 0 };
    add_keyword(&k, "fallback_application_name", "pgatomic");
    add_keyword(&k, "keepalives_idle", "30");
    add_keyword(&k, "keepalives_interval", "10");
    add_keyword(&k, "keepalives_count", "3");
    add_keyword(&k, "tcp_user_timeout", "60000");
    for (const PQconninfoOption *o = t->options; o->keyword != NULL; o++)
        add_keyword(&k, o->keyword, o->val);
    add_keyword(&k, "host", hosts);
    add_keyword(&k, "hostaddr", addresses);
    add_keyword(&k, "port", ports);
    add_keyword(&k, "dbname", t->dbname);
    add_keyword(&k, "client_encoding", "UTF8");
    k.names[k.count] = k.values[k.count] = NULL;
    PGconn *pg = or_abort(PQconnectStartParams(k.names, k.values, 0));
    pq_target_stop(t);
    finish(t, pg, NULL);
}

static void start_resolved(struct pq_target *t)
{
    if (t->hosts.size == 0) {
        buffer_append_u8(&t->errors, '\0');
        finish(t, NULL, t->errors.data);
        return;
    }
    buffer_append_u8(&t->hosts, '\0');
    buffer_append_u8(&t->addresses, '\0');
    buffer_append_u8(&t->ports, '\0');
    start_libpq(t, t->hosts.data, t->addresses.data, t->ports.data);
}

/* --- resolving --------------------------------------------------------------------------------- */

static void resolve_rest(struct pq_target *t);

static void take_addresses(struct pq_target *t, const struct address *list, size_t count, const char *error)
{
    struct span name = host_name(t);
    for (size_t i = 0; i < count; i++) {
        char text[INET6_ADDRSTRLEN];
        const void *bytes =
            list[i].any.sa_family == AF_INET6 ? (const void *)&list[i].in6.sin6_addr : &list[i].in.sin_addr;
        inet_ntop(list[i].any.sa_family, bytes, text, sizeof text);
        add_way(t, text);
    }
    if (count == 0)
        buffer_format(&t->errors, "%scould not translate host name \"%.*s\" to address: %s", t->errors.size ? "\n" : "",
                      (int)name.size, name.data, error);
    t->at++;
}

static void on_resolved(void *context, const struct address *list, size_t count, const char *error)
{
    struct pq_target *t = context;
    t->wait = NULL;
    take_addresses(t, list, count, error);
    if (!t->asking)
        resolve_rest(t);
}

/* A socket's directory, nothing at all, and a numeric address need no resolver. */
static bool add_without_asking(struct pq_target *t, struct span host)
{
    char text[INET6_ADDRSTRLEN];
    struct address numeric;
    if (host.size == 0 || host.data[0] == '/' || host.data[0] == '@') {
        add_way(t, "");
    } else {
        if (host.size >= sizeof text)
            return false;
        memcpy(text, host.data, host.size);
        text[host.size] = '\0';
        if (text[0] == '[' || !address_set_ip(&numeric, text, 0))
            return false;
        add_way(t, text);
    }
    t->at++;
    return true;
}

static void resolve_rest(struct pq_target *t)
{
    while (t->at < t->count) {
        struct span host = host_name(t);
        if (add_without_asking(t, host))
            continue;
        char *name = memory_copy_span(host);
        t->asking = true;
        t->wait = resolver_find(t->resolver, name, on_resolved, t);
        t->asking = false;
        free(name);
        if (t->wait != NULL)
            return;
    }
    start_resolved(t);
}

void pq_target_turn(struct pq_target *t)
{
    t->turns++;
}

void pq_target_start(struct pq_target *t)
{
    pq_target_stop(t);
    t->options = PQconninfoParse(t->conninfo, NULL);
    if (t->options == NULL) {
        finish(t, NULL, "its connection string cannot be read");
        return;
    }
    bool resolves = option(t, "host")[0] != '\0' && option(t, "hostaddr")[0] == '\0';
    if (!resolves) {
        start_libpq(t, NULL, NULL, NULL);
        return;
    }
    t->count = list_count(option(t, "host"));
    resolve_rest(t);
}
