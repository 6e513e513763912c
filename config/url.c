/* scheme://user:password@host:port/path?query, strictly.
 *
 *     redis://worker:s%40crets@[::1]:6380/2
 *     └─┬─┘   └──────┬───────┘ └────┬───┘ └ path
 *     scheme        user          host
 *             └───────── authority ──────┘
 *
 * Strictly, because a URL that is guessed at delivers to a place that nobody meant. The text is cut at its separators first and decoded
 * after, so that %40 in a password is never taken for the @ behind it. */
#include "config/url.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>

#define KIND(kind) (1u << (kind))

enum { MAX_BROKERS = 64, LONGEST_DATABASE_NUMBER = 9 };

static const struct scheme {
    const char *name;
    unsigned kinds; /* of sink */
    bool tls;
    uint16_t port;
} schemes[] = {
    { "http", KIND(SINK_WEBHOOK), false, 80 },
    { "https", KIND(SINK_WEBHOOK), true, 443 },
    { "redis", KIND(SINK_REDIS) | KIND(SINK_CELERY), false, 6379 },
    { "rediss", KIND(SINK_REDIS) | KIND(SINK_CELERY), true, 6379 },
    { "unix", KIND(SINK_REDIS) | KIND(SINK_CELERY), false, 0 },
    { "redis+socket", KIND(SINK_REDIS) | KIND(SINK_CELERY), false, 0 }, /* the same, as Celery writes it */
    { "amqp", KIND(SINK_AMQP) | KIND(SINK_CELERY), false, 5672 },
    { "amqps", KIND(SINK_AMQP) | KIND(SINK_CELERY), true, 5671 },
    { "kafka", KIND(SINK_KAFKA), false, 9092 },
    { "kafkas", KIND(SINK_KAFKA), true, 9092 },
};

static const char *const examples[] = {
    [SINK_WEBHOOK] = "expected a URL such as https://hooks.example/path",
    [SINK_REDIS] = "expected a URL such as redis://user:password@127.0.0.1:6379/0, rediss://… with TLS, or "
                   "unix:///run/redis.sock?db=0",
    [SINK_CELERY] = "expected the URL of a broker such as redis://127.0.0.1:6379/0, rediss://… with TLS, "
                    "unix:///run/redis.sock?db=0, amqp://user:password@127.0.0.1:5672/vhost or amqps://…",
    [SINK_AMQP] = "expected a URL such as amqp://user:password@127.0.0.1:5672/vhost, or amqps://… with TLS",
    [SINK_KAFKA] = "expected a URL such as kafka://broker1:9092,broker2:9092, or kafkas://… with TLS",
};

static const char bad_escape[] = "expected two hexadecimal digits behind each %, and not 00; % itself is written %25";
static const char bad_port[] =
    "expected a port from 1 to 65535 behind the colon of the host; in a password : / ? # @ are written %3A %2F %3F "
    "%23 %40";
static const char bad_host[] =
    "expected the name of a host, in letters, digits and - . _, or an address; IPv6 goes in brackets, as in [::1]";
static const char bad_path[] = "expected the absolute path of a socket, as in unix:///run/redis.sock";
static const char bad_database[] =
    "expected the number of a database: redis://127.0.0.1/0 or unix:///run/redis.sock?db=0";

/* A piece of the URL. */
struct piece {
    const char *at, *end;
};

static size_t piece_size(struct piece p)
{
    return (size_t)(p.end - p.at);
}

static const char *piece_find(struct piece p, char c)
{
    return p.at < p.end ? memchr(p.at, c, piece_size(p)) : NULL;
}

/* Cuts `p` at the first of `c`, if there is one: what is behind it goes to `rest`. */
static bool cut(struct piece *p, char c, struct piece *rest)
{
    const char *at = piece_find(*p, c);

    if (at == NULL) {
        *rest = (struct piece){ p->end, p->end };
        return false;
    }
    *rest = (struct piece){ at + 1, p->end };
    p->end = at;
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
        return (c | 0x20) - 'a' + 10;
    return -1;
}

/* NULL when an escape is broken. */
static const char *decode(struct piece p, struct memory *memory)
{
    char *text = memory_take(memory, piece_size(p) + 1), *out = text;

    for (; p.at < p.end; p.at++) {
        *out = *p.at;
        if (*p.at == '%') {
            if (p.end - p.at < 3 || hex_digit(p.at[1]) < 0 || hex_digit(p.at[2]) < 0)
                return NULL;
            *out = (char)(hex_digit(p.at[1]) << 4 | hex_digit(p.at[2]));
            if (*out == '\0')
                return NULL;
            p.at += 2;
        }
        out++;
    }
    return text;
}

/* The authority of `text`, and what follows it; false without a scheme. */
static bool find_authority(const char *text, struct piece *scheme, struct piece *authority, struct piece *rest)
{
    const char *colon = strstr(text, "://");

    if (colon == NULL)
        return false;
    *scheme = (struct piece){ text, colon };
    authority->at = colon + 3;
    authority->end = authority->at + strcspn(authority->at, "/?#");
    *rest = (struct piece){ authority->end, authority->end + strlen(authority->end) };
    return true;
}

/* Takes "user:password@" off the front of the authority. */
static bool cut_user(struct piece *authority, struct piece *user, struct piece *password)
{
    const char *at = memrchr(authority->at, '@', piece_size(*authority));

    *user = *password = (struct piece){ authority->at, authority->at };
    if (at == NULL)
        return false;
    user->end = at;
    authority->at = at + 1;
    return cut(user, ':', password);
}

bool url_find_password(const char *text, size_t *start, size_t *size)
{
    struct piece scheme, authority, rest, user, password;

    if (!find_authority(text, &scheme, &authority, &rest) || !cut_user(&authority, &user, &password))
        return false;
    if (piece_size(password) == 0)
        return false;
    *start = (size_t)(password.at - text);
    *size = piece_size(password);
    return true;
}

static const struct scheme *find_scheme(struct piece name, enum sink_kind kind)
{
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        if ((schemes[i].kinds & KIND(kind)) != 0 && strlen(schemes[i].name) == piece_size(name) &&
            strncasecmp(schemes[i].name, name.at, piece_size(name)) == 0)
            return &schemes[i];
    return NULL;
}

static bool is_unix(const struct scheme *s)
{
    return s->port == 0;
}

/* What no URL has, in no place. */
static const char *check_characters(const char *text)
{
    for (const char *p = text; *p != '\0'; p++)
        if ((unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7f || strchr("\"<>\\^`{|}", *p) != NULL)
            return "expected only what a URL may hold: spaces, letters beyond ASCII and \"<>\\^`{|} are written %XX";
    if (strchr(text, '#') != NULL)
        return "expected no #fragment, for it is never sent; # itself is written %23";
    return NULL;
}

static bool parse_port(struct piece p, uint16_t *port)
{
    unsigned number = 0;

    if (p.at == p.end || piece_size(p) > 5)
        return false;
    for (; p.at < p.end; p.at++) {
        if (*p.at < '0' || *p.at > '9')
            return false;
        number = number * 10 + (unsigned)(*p.at - '0');
    }
    *port = (uint16_t)number;
    return number >= 1 && number <= UINT16_MAX;
}

static bool is_host_name(struct piece p)
{
    if (p.at == p.end || piece_size(p) > 253)
        return false;
    for (; p.at < p.end; p.at++)
        if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._", *p.at) == NULL)
            return false;
    return true;
}

/* "host", "host:port", "[::1]" or "[::1]:port". The brackets are not part of `host`. */
static const char *parse_host(struct piece p, const char **host, uint16_t *port, struct memory *memory)
{
    struct piece rest = { p.end, p.end };
    struct in6_addr ignored;
    bool says_port;

    if (p.at < p.end && *p.at == '[') {
        p.at++;
        if (!cut(&p, ']', &rest))
            return bad_host;
        *host = memory_copy_bytes(memory, p.at, piece_size(p));
        if (inet_pton(AF_INET6, *host, &ignored) != 1 || (rest.at < rest.end && *rest.at != ':'))
            return bad_host;
        says_port = rest.at < rest.end;
        rest.at += says_port;
    } else {
        says_port = cut(&p, ':', &rest);
        if (!is_host_name(p))
            return says_port && p.at < p.end && piece_find(rest, ':') != NULL ? bad_port : bad_host;
        *host = memory_copy_bytes(memory, p.at, piece_size(p));
    }
    return says_port && !parse_port(rest, port) ? bad_port : NULL;
}

/* "host:port,host:port", each with its port and IPv6 in brackets: as librdkafka takes them. */
static const char *parse_brokers(struct piece list, struct sink_url *parts, struct memory *memory)
{
    /* A port that is not said adds six bytes. */
    char *text = memory_take(memory, piece_size(list) + MAX_BROKERS * sizeof ":65535"), *out = text;
    struct piece rest = list;

    for (int count = 0;; count++) {
        struct piece one = rest;
        uint16_t port = parts->port;
        const char *host, *between = count > 0 ? "," : "";
        bool more = cut(&one, ',', &rest);
        const char *wrong = count < MAX_BROKERS ? parse_host(one, &host, &port, memory) : "expected at most 64 brokers";

        if (wrong != NULL)
            return wrong;
        out += sprintf(out, strchr(host, ':') != NULL ? "%s[%s]:%u" : "%s%s:%u", between, host, port);
        if (!more)
            break;
    }
    parts->host = text;
    return NULL;
}

/* --- the query ----------------------------------------------------------------------------------- */

static const struct query_option {
    const char *name;
    unsigned kinds;
    bool only_unix;
} query_options[] = {
    { "db", KIND(SINK_REDIS) | KIND(SINK_CELERY), true },
    { "virtual_host", KIND(SINK_REDIS) | KIND(SINK_CELERY), true }, /* the same, as Celery calls it */
    { "global_keyprefix", KIND(SINK_CELERY), false },
    { "mechanism", KIND(SINK_KAFKA), false },
};

static const char *const bad_query[] = {
    [SINK_REDIS] = "expected nothing behind ? but the db=… of a unix socket",
    [SINK_CELERY] = "expected nothing behind ? but global_keyprefix=… for Redis, and the db=… of a unix socket",
    [SINK_AMQP] = "expected nothing behind ?",
    [SINK_KAFKA] = "expected nothing behind ? but mechanism=PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512, for a user",
};

static bool piece_is(struct piece p, const char *text)
{
    return strlen(text) == piece_size(p) && strncmp(p.at, text, piece_size(p)) == 0;
}

static bool is_query_option(struct piece name, enum sink_kind kind, const struct scheme *scheme)
{
    bool is_amqp = (scheme->kinds & KIND(SINK_AMQP)) != 0;

    for (size_t i = 0; i < sizeof query_options / sizeof *query_options; i++)
        if (piece_is(name, query_options[i].name))
            return !is_amqp && (query_options[i].kinds & KIND(kind)) != 0 &&
                   (!query_options[i].only_unix || is_unix(scheme));
    return false;
}

static bool is_mechanism(struct piece value)
{
    return piece_is(value, "PLAIN") || piece_is(value, "SCRAM-SHA-256") || piece_is(value, "SCRAM-SHA-512");
}

/* A webhook's query is its receiver's business. */
static const char *check_query(struct piece query, enum sink_kind kind, const struct scheme *scheme,
                               struct sink_url *parts, struct memory *memory)
{
    struct piece rest = query, value;

    while (kind != SINK_WEBHOOK && rest.at < rest.end) {
        struct piece name = rest;
        cut(&name, '&', &rest);
        if (!cut(&name, '=', &value) || !is_query_option(name, kind, scheme))
            return bad_query[kind];
        if (piece_is(name, "mechanism") && (!is_mechanism(value) || *parts->user == '\0'))
            return bad_query[kind];
        const char *decoded = decode(value, memory);
        if (decoded == NULL)
            return bad_escape;
        if (piece_is(name, "db") || piece_is(name, "virtual_host"))
            parts->path = decoded;
    }
    parts->query = memory_copy_bytes(memory, query.at, piece_size(query));
    return NULL;
}

/* --- the whole ----------------------------------------------------------------------------------- */

static const char *parse_user(struct piece *authority, struct sink_url *parts, struct memory *memory)
{
    struct piece user, password;

    cut_user(authority, &user, &password);
    parts->user = decode(user, memory);
    parts->password = decode(password, memory);
    return parts->user == NULL || parts->password == NULL ? bad_escape : NULL;
}

/* A path belongs to the host, but to a unix socket it is the host. */
static const char *parse_path(struct piece path, const struct scheme *scheme, struct sink_url *parts,
                              struct memory *memory)
{
    if (path.at < path.end && !is_unix(scheme))
        path.at++;
    const char *decoded = decode(path, memory);
    if (decoded == NULL)
        return bad_escape;
    if (!is_unix(scheme)) {
        parts->path = decoded;
        return NULL;
    }
    parts->path = "";
    parts->host = decoded;
    return *decoded != '/' || strlen(decoded) >= sizeof(((struct sockaddr_un *)0)->sun_path) ? bad_path : NULL;
}

static const char *check_path(enum sink_kind kind, const struct scheme *scheme, const struct sink_url *parts)
{
    bool is_redis = (scheme->kinds & KIND(SINK_REDIS)) != 0;
    size_t size = strlen(parts->path);

    if (is_redis && (size > LONGEST_DATABASE_NUMBER || strspn(parts->path, "0123456789") != size))
        return bad_database;
    if (kind == SINK_KAFKA && size > 0)
        return "expected nothing behind the brokers' slash: the topic is an option of its own";
    return NULL;
}

static const char *parse_authority(struct piece authority, enum sink_kind kind, const struct scheme *scheme,
                                   struct sink_url *parts, struct memory *memory)
{
    const char *wrong = parse_user(&authority, parts, memory);

    if (wrong != NULL)
        return wrong;
    if (is_unix(scheme))
        return authority.at < authority.end ? bad_path : NULL;
    if (kind == SINK_KAFKA)
        return parse_brokers(authority, parts, memory);
    return parse_host(authority, &parts->host, &parts->port, memory);
}

const char *url_parse(const char *text, enum sink_kind kind, struct sink_url *parts, struct memory *memory)
{
    struct piece name, authority, path, query;
    const char *wrong = check_characters(text);

    if (wrong != NULL)
        return wrong;
    if (!find_authority(text, &name, &authority, &path))
        return examples[kind];
    const struct scheme *scheme = find_scheme(name, kind);
    if (scheme == NULL)
        return examples[kind];
    cut(&path, '?', &query);

    *parts = (struct sink_url){ .scheme = is_unix(scheme) ? "unix" : scheme->name,
                                .tls = scheme->tls,
                                .port = scheme->port };
    wrong = parse_authority(authority, kind, scheme, parts, memory);
    if (wrong == NULL)
        wrong = parse_path(path, scheme, parts, memory);
    if (wrong == NULL)
        wrong = check_query(query, kind, scheme, parts, memory);
    return wrong != NULL ? wrong : check_path(kind, scheme, parts);
}
