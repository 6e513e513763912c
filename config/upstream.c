/* Upstreams.
 *
 * An upstream is written as for psql, and libpq's own parser takes it apart, so that quoting, URIs and lists mean what they mean
 * there. But pgatomic speaks the protocol itself: of libpq's many parameters it uses those in the table below, and refuses the others rather
 * than let one be believed in. What may be said together is libpq's rule, too, with two exceptions on the safe side: files of
 * certificates are only ever those that are named, and one that would not be looked at is an error. */
#include "config/upstream.h"

#include <ctype.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "config/address.h"
#include "config/conninfo.h"

enum { POSTGRESQL_PORT = 5432, MAX_HOSTS = 64, MOST_SECONDS = 86400 };

/* The most that the kernel takes. */
enum { MOST_PROBE_SECONDS = 32767, MOST_PROBES = 127 };

const struct tcp_options tcp_options_usual = { .keepalives = true, .idle_s = 30, .interval_s = 10, .count = 3 };

/* What a connection string said; NULL: nothing. */
struct upstream {
    const char *host, *hostaddr, *port, *dbname, *user, *password, *connect_timeout;
    const char *sslmode, *sslnegotiation, *sslrootcert, *sslcert, *sslkey, *channel_binding, *gssencmode;
    const char *target_session_attrs, *load_balance_hosts;
    const char *keepalives, *keepalives_idle, *keepalives_interval, *keepalives_count, *tcp_user_timeout;
};

#define PARAMETER(name)                        \
    {                                          \
#name, offsetof(struct upstream, name) \
    }

static const struct {
    const char *name;
    size_t offset;
} parameters[] = {
    PARAMETER(host),
    PARAMETER(hostaddr),
    PARAMETER(port),
    PARAMETER(dbname),
    PARAMETER(user),
    PARAMETER(password),
    PARAMETER(connect_timeout),
    PARAMETER(sslmode),
    PARAMETER(sslnegotiation),
    PARAMETER(sslrootcert),
    PARAMETER(sslcert),
    PARAMETER(sslkey),
    PARAMETER(channel_binding),
    PARAMETER(gssencmode),
    PARAMETER(target_session_attrs),
    PARAMETER(load_balance_hosts),
    PARAMETER(keepalives),
    PARAMETER(keepalives_idle),
    PARAMETER(keepalives_interval),
    PARAMETER(keepalives_count),
    PARAMETER(tcp_user_timeout),
};

static const char known[] =
    "host, hostaddr, port, dbname, user, password, connect_timeout, sslmode, sslnegotiation, "
    "sslrootcert, sslcert, sslkey, channel_binding, target_session_attrs, load_balance_hosts, keepalives, "
    "keepalives_idle, keepalives_interval, keepalives_count and tcp_user_timeout";

struct upstream_reader {
    struct upstream said;
    struct memory *memory;
    int line;
    struct config_errors *errors;
    bool failed;
};

static void fail(struct upstream_reader *r, const char *what)
{
    errors_add(r->errors, r->line, "upstream: %s", what);
    r->failed = true;
}

static void take_parameter(struct upstream_reader *r, const struct conninfo_parameter *p)
{
    for (size_t i = 0; i < sizeof parameters / sizeof *parameters; i++)
        if (strcmp(p->name, parameters[i].name) == 0) {
            const char *value = p->value[0] != '\0' ? p->value : NULL; /* as good as not said */
            memcpy((char *)&r->said + parameters[i].offset, &value, sizeof value);
            return;
        }
    errors_add(r->errors, r->line, "upstream: %s= is not supported by this version of pgatomic: expected %s", p->name,
               known);
    r->failed = true;
}

/* --- words ----------------------------------------------------------------------------------------- */

struct word {
    const char *text;
    int value;
};

/* The value of `said`, or else of the first word. */
static int choose(struct upstream_reader *r, const char *name, const char *said, const struct word *words)
{
    const struct word *each = words;

    if (said == NULL)
        return words[0].value;
    while (each->text != NULL && strcmp(each->text, said) != 0)
        each++;
    if (each->text != NULL)
        return each->value;
    errors_add(r->errors, r->line, "upstream: %s= cannot be \"%.100s\"", name, said);
    r->failed = true;
    return words[0].value;
}

static void take_words(struct upstream_reader *r, struct database *d)
{
    static const struct word modes[] = { { "prefer", TLS_PREFER },
                                         { "disable", TLS_DISABLE },
                                         { "allow", TLS_PREFER },
                                         { "require", TLS_REQUIRE },
                                         { "verify-ca", TLS_VERIFY_CA },
                                         { "verify-full", TLS_VERIFY_FULL },
                                         { NULL, 0 } };
    static const struct word negotiations[] = { { "postgres", false }, { "direct", true }, { NULL, 0 } };
    static const struct word bindings[] = { { "prefer", CHANNEL_BINDING_PREFER },
                                            { "disable", CHANNEL_BINDING_DISABLE },
                                            { "require", CHANNEL_BINDING_REQUIRE },
                                            { NULL, 0 } };
    static const struct word without_gss[] = { { "prefer", 0 }, { "disable", 0 }, { NULL, 0 } };
    static const struct word targets[] = { { "any", TARGET_ANY },
                                           { "read-write", TARGET_READ_WRITE },
                                           { "read-only", TARGET_READ_ONLY },
                                           { "primary", TARGET_PRIMARY },
                                           { "standby", TARGET_STANDBY },
                                           { "prefer-standby", TARGET_PREFER_STANDBY },
                                           { NULL, 0 } };
    static const struct word balances[] = { { "disable", false }, { "random", true }, { NULL, 0 } };

    d->tls.mode = (enum tls_mode)choose(r, "sslmode", r->said.sslmode, modes);
    d->direct_tls = choose(r, "sslnegotiation", r->said.sslnegotiation, negotiations) != 0;
    d->channel_binding = (enum channel_binding)choose(r, "channel_binding", r->said.channel_binding, bindings);
    choose(r, "gssencmode", r->said.gssencmode, without_gss);
    d->target_session = (enum target_session)choose(r, "target_session_attrs", r->said.target_session_attrs, targets);
    d->shuffles_hosts = choose(r, "load_balance_hosts", r->said.load_balance_hosts, balances) != 0;
}

/* --- TLS ------------------------------------------------------------------------------------------- */

static const char *file_of(struct upstream_reader *r, const char *said)
{
    return memory_copy(r->memory, said != NULL ? said : "");
}

static void take_files(struct upstream_reader *r, struct database *d)
{
    bool is_system = r->said.sslrootcert != NULL && strcmp(r->said.sslrootcert, "system") == 0;

    d->tls.ca = file_of(r, is_system ? NULL : r->said.sslrootcert);
    d->tls.certificate = file_of(r, r->said.sslcert);
    d->tls.key = file_of(r, r->said.sslkey);
    if ((r->said.sslcert == NULL) != (r->said.sslkey == NULL))
        fail(r, "sslcert= and sslkey= need each other");
    /* Anybody can get a certificate from one of the system's authorities, for some name. */
    if (*d->tls.ca == '\0' && (d->tls.mode == TLS_VERIFY_CA || (is_system && d->tls.mode != TLS_VERIFY_FULL)))
        fail(r,
             "the system's authorities sign for everybody: expected sslrootcert= with a file, or sslmode=verify-full");
    if (*d->tls.ca != '\0' && d->tls.mode < TLS_REQUIRE)
        fail(r, "sslrootcert= would not be looked at: expected sslmode=verify-full");
    if (*d->tls.ca != '\0' && d->tls.mode == TLS_REQUIRE)
        d->tls.mode = TLS_VERIFY_CA;
    if (d->direct_tls && d->tls.mode < TLS_REQUIRE)
        fail(r, "sslnegotiation=direct cannot do without TLS: expected sslmode=require, verify-ca or verify-full");
}

/* --- hosts ----------------------------------------------------------------------------------------- */

static size_t count_items(const char *list)
{
    size_t count = 1;

    for (; *list != '\0'; list++)
        count += *list == ',';
    return count;
}

/* The item at `index` of a comma-separated list; "" past its end, or when there is none. */
static const char *list_item(const char *list, size_t index, struct memory *memory)
{
    if (list == NULL)
        return "";
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
        return address_is_socket_directory(host);
    return host[0] != '\0' && host[0] != '@';
}

/* As libpq takes them: hostaddr before host, but certificates are for the host; one port for all or one for each, an empty one the
 * default. */
static void take_host(struct upstream_reader *r, size_t index, const char **host, const char **name, uint16_t *port)
{
    const char *address = list_item(r->said.hostaddr, index, r->memory);
    bool one_port = r->said.port != NULL && count_items(r->said.port) == 1;
    const char *port_text = list_item(r->said.port, one_port ? 0 : index, r->memory);

    *name = list_item(r->said.host, index, r->memory);
    *host = *address != '\0' ? address : *name;
    if (**name == '\0')
        *name = address;
    if (*address != '\0' && !address_is_numeric(address))
        fail(r, "hostaddr= expects numeric addresses");
    else if (!is_host(*host))
        fail(r, "expected a host name, an address, or the directory of a unix socket in host=");
    *port = POSTGRESQL_PORT;
    if (*port_text != '\0' && !address_parse_port(port_text, 1, port))
        fail(r, "expected numbers from 1 to 65535 in port=");
}

static void take_hosts(struct upstream_reader *r, struct database *d)
{
    const char *list = r->said.hostaddr != NULL ? r->said.hostaddr : r->said.host;
    bool any_tcp = false;

    if (list == NULL) {
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

    const char **hosts = memory_take(r->memory, (count + 1) * sizeof *hosts);
    const char **names = memory_take(r->memory, (count + 1) * sizeof *names);
    uint16_t *ports = memory_take(r->memory, count * sizeof *ports);
    for (size_t i = 0; i < count && !r->failed; i++) {
        take_host(r, i, &hosts[i], &names[i], &ports[i]);
        any_tcp = any_tcp || hosts[i][0] != '/';
    }
    d->hosts = hosts;
    d->names = names;
    d->ports = ports;
    if (!any_tcp)
        d->tls.mode = TLS_DISABLE; /* there is nobody in between */
}

/* --- numbers --------------------------------------------------------------------------------------- */

/* A number of `unit` that the parameter says; or `otherwise`, when it says nothing, or what is an error now. */
static int number(struct upstream_reader *r, const char *name, const char *said, const char *unit, int least, int most,
                  int otherwise)
{
    char *end;
    unsigned long value;

    if (said == NULL)
        return otherwise;
    value = strtoul(said, &end, 10);
    if (isdigit((unsigned char)said[0]) && *end == '\0' && value >= (unsigned)least && value <= (unsigned)most)
        return (int)value;
    errors_add(r->errors, r->line, "upstream: expected %s, from %d to %d, in %s=", unit, least, most, name);
    r->failed = true;
    return otherwise;
}

static void take_tcp_options(struct upstream_reader *r, struct database *d)
{
    static const struct word switches[] = { { "1", true }, { "0", false }, { NULL, 0 } };
    const struct upstream *u = &r->said;
    struct tcp_options *o = &d->tcp;

    *o = tcp_options_usual;
    o->keepalives = choose(r, "keepalives", u->keepalives, switches) != 0;
    o->idle_s = number(r, "keepalives_idle", u->keepalives_idle, "seconds", 0, MOST_PROBE_SECONDS, o->idle_s);
    o->interval_s =
        number(r, "keepalives_interval", u->keepalives_interval, "seconds", 0, MOST_PROBE_SECONDS, o->interval_s);
    o->count = number(r, "keepalives_count", u->keepalives_count, "probes", 0, MOST_PROBES, o->count);
    o->user_timeout_ms =
        number(r, "tcp_user_timeout", u->tcp_user_timeout, "milliseconds", 0, INT_MAX, o->user_timeout_ms);
}

/* --- all of it ------------------------------------------------------------------------------------- */

static void take_timeout(struct upstream_reader *r, struct database *d, uint64_t said_timeout_ms)
{
    uint64_t timeout_ms =
        (uint64_t)number(r, "connect_timeout", r->said.connect_timeout, "seconds", 1, MOST_SECONDS, 0) * 1000;

    if (timeout_ms > 0 && said_timeout_ms > 0 && said_timeout_ms != timeout_ms)
        fail(r, "connect_timeout= is not what the database block says");
    else if (timeout_ms > 0)
        d->connect_timeout_ms = timeout_ms;
}

static const char *copy_if_said(struct upstream_reader *r, const char *said)
{
    return said != NULL ? memory_copy(r->memory, said) : NULL;
}

static void take_all(struct upstream_reader *r, struct database *d, uint64_t said_timeout_ms)
{
    take_words(r, d);
    take_files(r, d);
    take_timeout(r, d, said_timeout_ms);
    take_tcp_options(r, d);
    if (!r->failed)
        take_hosts(r, d);
    d->dbname = copy_if_said(r, r->said.dbname);
    d->user = copy_if_said(r, r->said.user);
    d->password = copy_if_said(r, r->said.password);
}

bool upstream_parse(struct database *d, uint64_t said_timeout_ms, struct memory *memory, int line,
                    struct config_errors *errors)
{
    struct upstream_reader r = { .memory = memory, .line = line, .errors = errors };
    struct conninfo said;
    char *words;
    bool is_conninfo = conninfo_parse(d->upstream, &said, &words);

    if (!is_conninfo)
        conninfo_refuse(d->upstream, words, "upstream", line, errors);
    if (is_conninfo && conninfo_is_whole(&said, "upstream", line, errors)) {
        for (size_t i = 0; i < said.count; i++)
            take_parameter(&r, &said.list[i]);
        take_all(&r, d, said_timeout_ms);
    } else {
        r.failed = true;
    }
    conninfo_free(&said);
    free(words);
    return !r.failed;
}
