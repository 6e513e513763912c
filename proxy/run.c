/* The process: listeners, signals, reload, the end.
 *
 *     SIGHUP    the file is read again; what does not check is logged and changes nothing
 *     SIGTERM   no new clients; each one goes when it is between requests, all of them after drain_timeout; in what is left of that
 *               time, the events that they have released are delivered
 *     SIGINT    all of them now, and no more deliveries; a second one does not wait for their last words */
#include "proxy/run.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "protocol/memory.h"

#include "proxy/events/dispatch.h"
#include "proxy/net/dial.h"
#include "proxy/net/listener.h"
#include "proxy/ops/http.h"
#include "proxy/ops/log.h"
#include "proxy/pool/encryption.h"
#include "proxy/version.h"
#include "proxy/worker.h"

/* An address on which we listen. */
struct door {
    struct door *next;
    struct listener *listener;
    char text[]; /* as the config has it */
};

static struct {
    struct config *config;
    struct door *doors;
    bool stopping; /* SIGINT came */
    bool workers_ended;
    uint64_t drained_ms; /* on the monotonic clock, when draining is over; 0: nobody asked for it */
} process;

/* --- doors ------------------------------------------------------------------------------------------- */

static void on_accepted(void *context, int fd, const struct address *peer)
{
    (void)context;
    if (fd >= 0)
        workers_adopt(fd, peer);
    else
        LOG(LOG_ERROR, "cannot take connections", log_text("error", strerror(errno)));
}

/* False, and it is logged, when it cannot be done. */
static bool open_door(const struct listen_address *a)
{
    char error[256];
    struct listener *listener =
        listener_open(workers_first_loop(), a->host, a->port, a->is_unix, on_accepted, NULL, error, sizeof error);
    if (listener == NULL) {
        LOG(LOG_ERROR, "cannot listen", log_text("address", a->text), log_text("error", error));
        return false;
    }
    size_t size = strlen(a->text) + 1;
    struct door *door = or_abort(malloc(sizeof *door + size));
    door->listener = listener;
    memcpy(door->text, a->text, size);
    door->next = process.doors;
    process.doors = door;
    LOG(LOG_INFO, "listening", log_text("address", a->text));
    return true;
}

static void close_door(struct door **link)
{
    struct door *door = *link;
    *link = door->next;
    listener_close(door->listener);
    free(door);
}

static void close_doors(void)
{
    while (process.doors != NULL)
        close_door(&process.doors);
}

static bool is_open(const char *text)
{
    for (const struct door *door = process.doors; door != NULL; door = door->next)
        if (strcmp(door->text, text) == 0)
            return true;
    return false;
}

static bool is_wanted(const struct config *c, const char *text)
{
    for (size_t i = 0; i < c->listen_count; i++)
        if (strcmp(c->listen[i].text, text) == 0)
            return true;
    return false;
}

/* Opens what `c` lists and is not open. False: some could not be. */
static bool open_doors(const struct config *c)
{
    bool all = true;
    for (size_t i = 0; i < c->listen_count; i++)
        if (!is_open(c->listen[i].text))
            all = open_door(&c->listen[i]) && all;
    return all;
}

static void close_unwanted_doors(const struct config *c)
{
    for (struct door **link = &process.doors; *link != NULL;) {
        if (is_wanted(c, (*link)->text)) {
            link = &(*link)->next;
        } else {
            LOG(LOG_INFO, "no longer listening", log_text("address", (*link)->text));
            close_door(link);
        }
    }
}

/* False, and it is logged, when the address cannot be had. */
static bool open_http(struct config *c)
{
    char error[256];
    if (http_open(workers_first_loop(), c, error, sizeof error))
        return true;
    LOG(LOG_ERROR, "cannot listen for HTTP", log_text("address", c->http.text), log_text("error", error));
    return false;
}

/* --- reload -------------------------------------------------------------------------------------------- */

static void log_errors(char *text)
{
    for (char *rest = text, *line; (line = strsep(&rest, "\n")) != NULL;)
        if (line[0] != '\0')
            LOG(LOG_ERROR, "config refused", log_text("error", line));
}

static struct config *read_again(const char *file)
{
    char *text = NULL;
    size_t size = 0;
    FILE *errors = or_abort(open_memstream(&text, &size));
    struct config *c = config_read(file, errors);
    fclose(errors);
    if (c == NULL)
        log_errors(text);
    free(text);
    return c;
}

static void take_config(struct config *c)
{
    if (!log_open(c))
        LOG(LOG_ERROR, "cannot open the log file, the old one stays", log_text("file", c->log.file),
            log_text("error", strerror(errno)));
    if (c->workers != process.config->workers)
        LOG(LOG_WARN, "a change of workers takes a restart");
    close_unwanted_doors(c);
    open_doors(c);
    open_http(c);
    encryption_load(c);
    workers_reload(c);
    dispatch_reload(c);
    config_release(process.config);
    process.config = c;
    LOG(LOG_INFO, "config reloaded", log_text("file", c->file));
}

static void on_hangup(void *context)
{
    (void)context;
    if (process.stopping || process.drained_ms > 0) /* doors that have closed stay closed */
        return;
    if (process.config->file[0] == '\0') {
        if (!log_open(process.config))
            LOG(LOG_ERROR, "cannot open the log file, the old one stays", log_text("error", strerror(errno)));
        return;
    }
    struct config *c = read_again(process.config->file);
    if (c != NULL)
        take_config(c);
}

/* --- the end ---------------------------------------------------------------------------------------------- */

/* At least as long an event gets that was released at the very end. */
enum { LAST_DELIVERIES_MS = 1000 };

static uint64_t monotonic_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void stop_first_loop(void *context)
{
    (void)context;
    loop_stop(workers_first_loop());
}

static void on_dispatch_finished(void *context)
{
    (void)context;
    loop_post(workers_first_loop(), stop_first_loop, NULL);
}

/* While the dispatcher drains, signals are still heard. */
static void finish_deliveries(void)
{
    uint64_t now_ms = monotonic_ms(), left_ms = process.drained_ms > now_ms ? process.drained_ms - now_ms : 0;
    if (left_ms < LAST_DELIVERIES_MS)
        left_ms = LAST_DELIVERIES_MS;
    process.workers_ended = true;
    dispatch_finish(process.stopping ? 0 : left_ms, on_dispatch_finished, NULL);
    loop_run(workers_first_loop());
    dispatch_free();
}

static void on_terminate(void *context)
{
    (void)context;
    if (process.workers_ended)
        return;
    process.drained_ms = monotonic_ms() + process.config->drain_timeout_ms;
    LOG(LOG_INFO, "draining", log_number("timeout_ms", process.config->drain_timeout_ms));
    close_doors();
    http_drain();
    workers_drain(process.config->drain_timeout_ms);
}

static void on_interrupt(void *context)
{
    (void)context;
    if (process.stopping) {
        log_flush();
        _exit(EXIT_FAILURE);
    }
    process.stopping = true;
    LOG(LOG_INFO, "stopping");
    close_doors();
    if (process.workers_ended)
        dispatch_finish(0, on_dispatch_finished, NULL);
    else
        workers_stop();
}

/* --- the beginning ---------------------------------------------------------------------------------------- */

/* Two descriptors a client; what the administrator allows is better used than run into. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static unsigned worker_count(const struct config *c)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (c->workers > 0)
        return c->workers;
    return cores > 0 ? (unsigned)cores : 1;
}

struct trial {
    struct loop loop;
    bool reached;
};

static void on_dialed(void *context, int fd, const struct address *to, const char *error)
{
    (void)to;
    struct trial *trial = context;
    trial->reached = fd >= 0;
    if (fd >= 0)
        close(fd);
    else
        LOG(LOG_ERROR, "the upstream cannot be reached", log_text("error", error));
    loop_stop(&trial->loop);
}

static void on_trial_turn(void *context)
{
    (void)context;
}

/* Connects to the upstream of `d` and hangs up. */
static bool try_upstream(const struct database *d)
{
    struct trial trial = { .reached = false };
    struct dial_targets targets = { d->hosts, d->ports, d->connect_timeout_ms };
    loop_init(&trial.loop, on_trial_turn, NULL);
    struct resolver *resolver = resolver_new(&trial.loop);
    dial_hosts(&trial.loop, resolver, &targets, on_dialed, &trial);
    loop_run(&trial.loop);
    resolver_free(resolver);
    loop_destroy(&trial.loop);
    return trial.reached;
}

static bool try_upstreams(const struct config *c)
{
    bool all = true;
    for (size_t i = 0; i < c->database_count; i++)
        all = try_upstream(&c->databases[i]) && all;
    return all;
}

/* Before anybody can know that we are there, for whoever knows may stop us. */
static void watch_signals(struct signal_watch *watches[3])
{
    struct loop *first = workers_first_loop();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, SIG_IGN); /* what holds again once nobody watches: a second one must not cut the end short */
    signal(SIGINT, SIG_IGN);
    watches[0] = loop_watch_signal(first, SIGHUP, on_hangup, NULL);
    watches[1] = loop_watch_signal(first, SIGTERM, on_terminate, NULL);
    watches[2] = loop_watch_signal(first, SIGINT, on_interrupt, NULL);
}

static void run_workers(void)
{
    LOG(LOG_INFO, "started", log_text("version", PGATOMIC_VERSION), log_number("pid", (uint64_t)getpid()));
    log_flush();
    dispatch_start(process.config);
    workers_run();
    http_close();
    finish_deliveries();
    LOG(LOG_INFO, "stopped");
}

int run_proxy(struct config *config_take, bool require_upstream)
{
    process.config = config_take;
    if (!log_open(config_take)) {
        fprintf(stderr, "pgatomic: cannot open the log file %s: %s\n", config_take->log.file, strerror(errno));
        config_release(config_take);
        return EXIT_FAILURE;
    }
    raise_descriptor_limit();
    workers_init(worker_count(config_take), config_take);
    struct signal_watch *watches[3];
    watch_signals(watches);
    bool can_run = encryption_load(config_take) && open_doors(config_take) && open_http(config_take) &&
                   (!require_upstream || try_upstreams(config_take));
    if (can_run)
        run_workers();
    http_close();
    close_doors();
    for (size_t i = 0; i < 3; i++)
        loop_unwatch_signal(watches[i]);
    workers_free();
    encryption_free();
    config_release(process.config);
    log_end_thread();
    return can_run ? EXIT_SUCCESS : EXIT_FAILURE;
}
