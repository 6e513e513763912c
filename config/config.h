/* The config file as plain, immutable data.
 *
 * A file is read whole, checked whole and never changed: a reload makes a new struct config, and the old one lives until the
 * last request that began under it lets it go. Strings are NUL-terminated, never NULL unless a comment says so. */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum route_mode { MODE_AUTOCOMMIT, MODE_ATOMIC, MODE_REQUIRED, MODE_SANDBOX };
enum route_nested { NESTED_SAVEPOINT, NESTED_JOIN, NESTED_REFUSE };
enum route_on_error { ON_ERROR_ABORT, ON_ERROR_ROLLBACK_STATEMENT };
enum route_end { END_ROLLBACK, END_COMMIT };
enum route_isolation {
    ISOLATION_DEFAULT,
    ISOLATION_READ_UNCOMMITTED,
    ISOLATION_READ_COMMITTED,
    ISOLATION_REPEATABLE_READ,
    ISOLATION_SERIALIZABLE
};
enum route_access { ACCESS_DEFAULT, ACCESS_READ_ONLY, ACCESS_READ_WRITE };

struct route {
    const char *name;
    const char *match;       /* glob over the label; NULL: any request, labelled or not */
    const char *application; /* globs; "*" when not said */
    const char *database;
    const char *user;
    enum route_mode mode;
    enum route_nested nested;
    enum route_on_error on_error;
    enum route_end end;
    enum route_isolation isolation;
    enum route_access access;
    uint64_t timeout_ms;              /* 0: off */
    uint64_t idle_timeout_ms;         /* 0: off */
    const char *const *sandbox_sinks; /* NULL-terminated */
};

enum channel_delivery { DELIVERY_MEMORY, DELIVERY_OUTBOX };
enum channel_capture { CAPTURE_WIRE, CAPTURE_LISTEN };
enum channel_ordering { ORDERING_CHANNEL, ORDERING_NONE };
enum channel_duplicates { DUPLICATES_KEEP, DUPLICATES_FOLD };

struct channel {
    const char *pattern;      /* glob over the channel's name */
    const char *const *sinks; /* titles of sink blocks, NULL-terminated; may be empty */
    bool forward;
    enum channel_delivery delivery;
    enum channel_capture capture;
    enum channel_ordering ordering;
    enum channel_duplicates duplicates;
};

enum sink_kind { SINK_LOG, SINK_POSTGRES, SINK_WEBHOOK, SINK_REDIS, SINK_CELERY, SINK_AMQP, SINK_KAFKA };
enum redis_command { REDIS_PUBLISH, REDIS_LPUSH, REDIS_RPUSH, REDIS_XADD };
enum webhook_body { BODY_RAW, BODY_BINARY, BODY_STRUCTURED };

/* The parts of a sink's `url`, percent-decoded. */
struct sink_url {
    const char *scheme;   /* "redis", "rediss", "amqp", "amqps", "kafka", "kafkas", "http", "https", "unix" */
    bool tls;             /* the scheme asks for it */
    const char *user;     /* "" when it is not said, as all below */
    const char *password; /* secret */
    const char *host;     /* of kafka: "host:port,host:port"; of unix: the path of the socket */
    uint16_t port;        /* the scheme's own when it is not said */
    const char *path;     /* behind the first slash: the number of a Redis database, a virtual host */
    const char *query;    /* behind `?`, as written */
};

struct sink_retry {
    uint64_t first_ms, max_ms; /* the first wait, which doubles each time, and the longest */
    unsigned attempts;         /* after so many tries an event is dead */
};

struct sink {
    const char *name;
    enum sink_kind kind;
    const char *url;       /* as written; secret; NULL for log and postgres */
    struct sink_url parts; /* of url */
    const char *ca;        /* a file of certificates to trust; "": the system's */
    const char *upstream;  /* postgres: libpq conninfo; secret */
    enum redis_command command;
    const char *key;         /* redis: of the list or stream, or the channel to publish on; "": the event's channel */
    const char *queue;       /* celery: where a payload names none */
    const char *exchange;    /* amqp; "": the default exchange */
    const char *routing_key; /* amqp; "": the event's channel */
    const char *topic;       /* kafka; "": the event's channel */
    const char *secret;      /* webhook: "whsec_…"; "": unsigned */
    enum webhook_body body;
    uint64_t timeout_ms; /* for one try */
    struct sink_retry retry;
};

/* The relay of a database with durable channels (E8). */
struct outbox {
    const char *name;     /* the database, as clients name it */
    const char *upstream; /* libpq conninfo; secret */
    uint64_t lease_ms;
    uint64_t poll_ms;
    unsigned batch; /* rows claimed, or deleted, at once */
};

enum pool_mode { POOL_DEDICATED, POOL_SESSION, POOL_TRANSACTION };
enum server_reset { RESET_AUTO, RESET_ALWAYS };
enum auth_method { AUTH_PASSTHROUGH, AUTH_TRUST, AUTH_SCRAM_SHA_256, AUTH_MD5, AUTH_CERT, AUTH_REJECT };
enum tls_mode { TLS_DISABLE, TLS_PREFER, TLS_REQUIRE, TLS_VERIFY_CA, TLS_VERIFY_FULL };

struct users;

enum login_tls { LOGIN_TLS_ANY, LOGIN_TLS_ON, LOGIN_TLS_OFF };
struct network;

/* Who may log in from where, and how. */
struct login_rule {
    const char *name;
    const char *const *databases; /* globs, NULL-terminated, of which one has to fit; "*" when not said */
    const char *const *users;
    const char *const *addresses;   /* as written, NULL-terminated; none: from anywhere */
    const struct network *networks; /* one an address */
    enum login_tls tls;
    enum auth_method method;
};

struct tls_options {
    enum tls_mode mode;
    const char *certificate, *key, *ca; /* files, as they can be opened; "" when they are not said */
    int line;                           /* in the config, for messages */
};

enum channel_binding { CHANNEL_BINDING_PREFER, CHANNEL_BINDING_DISABLE, CHANNEL_BINDING_REQUIRE };
/* libpq's target_session_attrs. */
enum target_session {
    TARGET_ANY,
    TARGET_READ_WRITE,
    TARGET_READ_ONLY,
    TARGET_PRIMARY,
    TARGET_STANDBY,
    TARGET_PREFER_STANDBY
};

/* How a connection over TCP finds out that its other end has gone without a word, in the words of libpq. Nothing for unix sockets. Of the numbers 0
 * is the system's own. */
struct tcp_options {
    bool keepalives;     /* silence is broken by probes: */
    int idle_s;          /* the first after so long, */
    int interval_s;      /* the next ones so far apart; */
    int count;           /* after so many without an answer the connection is lost */
    int user_timeout_ms; /* and it is lost when what was sent stays unacknowledged for so long */
};

/* Those of connections of which nothing else is said: gone is who has not answered for a minute of silence. There is no bound for what is sent, for
 * it would cut those who live and do not read. */
extern const struct tcp_options tcp_options_usual;

struct database {
    const char *name;     /* "*" matches any */
    const char *upstream; /* libpq conninfo as written; secret */
    /* From `upstream`; several hosts are tried in order, or, if it shuffles them, in any. */
    const char *const *hosts; /* NULL-terminated; one that begins with '/' is a directory of unix sockets */
    const char *const *names; /* one a host: whom its certificate has to be for */
    const uint16_t *ports;    /* one a host */
    bool shuffles_hosts;
    const char *dbname;     /* NULL: the name that the client asked for */
    const char *user;       /* of pooled servers; NULL: the client's */
    const char *password;   /* of `user`; NULL: none; secret */
    struct tls_options tls; /* with hosts that are no unix sockets; `ca` "": the system's */
    bool direct_tls;        /* without asking first (sslnegotiation) */
    enum channel_binding channel_binding;
    enum target_session target_session;
    struct tcp_options tcp; /* of every connection to the hosts */
    const char *control; /* libpq conninfo of pgatomic's own connections (E9, capture = listen); NULL: none; secret */
    enum pool_mode pool;
    uint64_t connect_timeout_ms;
    /* Of pooled servers: */
    unsigned pool_size;
    unsigned min_size;
    uint64_t queue_timeout_ms; /* 0: off, as below */
    uint64_t server_idle_timeout_ms;
    uint64_t server_lifetime_ms;
    enum server_reset server_reset;
    bool prepare_unnamed;
};

enum log_format { LOG_JSON, LOG_TEXT };
enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_payloads { PAYLOADS_FULL, PAYLOADS_PREVIEW, PAYLOADS_NONE };

struct listen_address {
    const char *text; /* as written */
    const char *host; /* address, or the directory of a unix socket */
    uint16_t port;    /* of TCP; of a unix socket, the number in its name */
    bool is_unix;
};

struct config {
    const char *file; /* "" when there is none (run --upstream) */
    const struct listen_address *listen;
    size_t listen_count;
    unsigned workers; /* 0: one per core */
    uint64_t drain_timeout_ms;

    struct {
        enum log_format format;
        enum log_level level;
        const char *file; /* "": standard output */
        int line;         /* in the config, for messages */
        enum log_payloads payloads;
    } log;

    struct {
        size_t clients;
        size_t message; /* bytes */
        size_t startup; /* bytes */
        size_t events_per_request;
        size_t event; /* bytes of payload */
        size_t held;  /* bytes of released events that wait for one sink (E13) */
    } limits;

    enum auth_method auth;
    const char *auth_users;    /* a users file (users.h), as it can be opened; "": none */
    const char *auth_query;    /* "": none */
    const struct users *users; /* what stands in auth_users; NULL: none */
    struct tls_options client_tls;
    struct listen_address http;     /* `text` is "" when it is off */
    const char *const *admin_users; /* NULL-terminated */
    const char *const *stats_users; /* likewise: they may look at what the console shows, and no more */

    const struct database *databases;
    size_t database_count;
    const struct route *routes;
    size_t route_count;
    const struct channel *channels;
    size_t channel_count;
    const struct sink *sinks;
    size_t sink_count;
    const struct login_rule *logins;
    size_t login_count;
    const struct outbox *outboxes;
    size_t outbox_count;
};

/* Reads and checks `file`. NULL when it has errors: they are written to `errors`, one a line, as FILE:LINE: text; the first syntax
 * error, or all impossible values at once. The result has one reference. */
struct config *config_read(const char *file, FILE *errors);
/* The config of `pgatomic run --upstream …`: one database "*", one route. Any of `listen`, `mode`, `end` may be NULL. */
struct config *config_from_options(const char *upstream, const char *listen, const char *mode, const char *end,
                                   FILE *errors);
/* The same as `c`, but for this route's mode; it shares the rest. NULL: there is no such route block. */
struct config *config_with_route_mode(struct config *c, const char *route, enum route_mode mode);
/* Prints it as understood, every default filled in, so that it reads back as the same. A secret is printed as the ${VAR} that it came
 * from; one that was written in the file is printed as ***, which is not read back. */
void config_print(const struct config *c, FILE *out);

/* Threads may share a config: the count is atomic. */
struct config *config_retain(struct config *c);
void config_release(struct config *c);

struct sockaddr;

struct login_attributes {
    const char *database, *user;
    const struct sockaddr *peer;
    bool tls;
};

/* How this client shows who it is: as the first login block whose every condition matches says, or else auth { method }. */
enum auth_method config_login(const struct config *c, const struct login_attributes *a);

struct request_attributes {
    const char *label; /* NULL: none */
    const char *application, *database, *user;
};

/* The first route whose every condition matches; NULL: none, which means autocommit without limits. */
const struct route *config_route(const struct config *c, const struct request_attributes *a);
/* The first channel block whose pattern matches; never NULL: without one, forward = on and no sinks. */
const struct channel *config_channel(const struct config *c, const char *name, size_t size);
/* The database block for the name that a client asked for; NULL: none. */
const struct database *config_database(const struct config *c, const char *name);
/* What the upstream calls the database of who asked for `name`. */
const char *config_dbname(const struct database *d, const char *name);
/* Clients may use TLS: there is a certificate to show. Without one, `prefer` is nothing. */
bool config_offers_tls(const struct config *c);
/* There is somebody to use the console. */
bool config_has_console(const struct config *c);
/* One of admin_users. */
bool config_is_admin(const struct config *c, const char *user);
/* One of stats_users. */
bool config_is_watcher(const struct config *c, const char *user);
/* The one that this name is for has a pool; NULL: any has. */
bool config_has_pool(const struct config *c, const char *database);
/* Some database has connections of pgatomic's own. */
bool config_has_control(const struct config *c);
/* It is the control connection of one of them. */
bool config_names_control(const struct config *c, const char *conninfo);
/* NULL: there is no route block of that name. */
const struct route *config_route_named(const struct config *c, const char *name);
const struct sink *config_sink(const struct config *c, const char *name);
/* The outbox block for the database that a client asked for; NULL: none. */
const struct outbox *config_outbox(const struct config *c, const char *database);

/* As written in the file. */
const char *route_mode_name(enum route_mode mode);
const char *pool_mode_name(enum pool_mode mode);

/* `*` matches any run of characters, / too; `?` one; everything else itself. */
bool glob_matches(const char *pattern, const char *text, size_t size);

#endif
