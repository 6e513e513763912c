/* The process: signals, reload, the end.
 *
 *     SIGHUP    the file is read again; what does not check is logged and changes nothing
 *     SIGTERM   no new clients; each one goes when it is between requests, all of them after drain_timeout; in what is left of that
 *               time, the events that they have released are delivered
 *     takeover  another process listens in our place: as for SIGTERM, but who has just come is served first (P12)
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

#include "proxy/doors.h"
#include "proxy/events/dispatch.h"
#include "proxy/net/dial.h"
#include "proxy/ops/averages.h"
#include "proxy/ops/http.h"
#include "proxy/ops/log.h"
#include "proxy/ops/process.h"
#include "proxy/ops/recent.h"
#include "proxy/ops/systemd.h"
#include "proxy/pool/encryption.h"
#include "proxy/version.h"
#include "proxy/worker.h"

static struct {
    struct config *config;
    bool stopping; /* SIGINT came */
    bool workers_ended;
    uint64_t drained_ms; /* on the monotonic clock, when draining is over; 0: nobody asked for it */
} process;

/* Events are kept for whoever may want to see them. False, and it is logged, when the address cannot be had. */
static bool open_http(struct config *c)
{
    char error[256];
    recent_keep(c->http.text[0] != '\0' || c->admin_users[0] != NULL);
    averages_keep(workers_first_loop(), c->admin_users[0] != NULL);
    if (http_open(workers_first_loop(), c, error, sizeof error))
        return true;
    LOG(LOG_ERROR, "cannot listen for HTTP", log_text("address", c->http.text), log_text("error", error));
    return false;
}

/* --- reload -------------------------------------------------------------------------------------------- */

static void log_errors(const char *text)
{
    char *copy = memory_copy_text(text);
    for (char *rest = copy, *line; (line = strsep(&rest, "\n")) != NULL;)
        if (line[0] != '\0')
            LOG(LOG_ERROR, "config refused", log_text("error", line));
    free(copy);
}

/* NULL: it has mistakes, which `*text` lists, to be freed. */
static struct config *read_again(const char *file, char **text)
{
    size_t size = 0;
    FILE *errors = or_abort(open_memstream(text, &size));
    struct config *c = config_read(file, errors);
    fclose(errors);
    return c;
}

static void take_config(struct config *c)
{
    if (!log_open(c))
        LOG(LOG_ERROR, "cannot open the log file, the old one stays", log_text("file", c->log.file),
            log_text("error", strerror(errno)));
    if (c->workers != process.config->workers)
        LOG(LOG_WARN, "a change of workers takes a restart");
    doors_close_unwanted(c);
    doors_open(c, false);
    open_http(c);
    encryption_load(c);
    workers_reload(c);
    dispatch_reload(c);
    config_release(process.config);
    process.config = c;
    LOG(LOG_INFO, "config reloaded", log_text("file", c->file));
}

/* NULL, or why not, to be freed. */
static char *reload(void)
{
    if (process.stopping || process.drained_ms > 0) /* doors that have closed stay closed */
        return memory_copy_text("the process is about to end");
    if (process.config->file[0] == '\0') {
        if (!log_open(process.config))
            LOG(LOG_ERROR, "cannot open the log file, the old one stays", log_text("error", strerror(errno)));
        return NULL;
    }
    systemd_reloading();
    char *errors = NULL;
    struct config *c = read_again(process.config->file, &errors);
    if (c == NULL) {
        log_errors(errors);
        systemd_reloaded("the new config was refused: the old one is in force");
        return errors;
    }
    free(errors);
    take_config(c);
    systemd_reloaded(NULL);
    return NULL;
}

static void on_hangup(void *context)
{
    (void)context;
    free(reload());
}

/* Until the next reload. NULL, or why not, to be freed. */
static char *set_route_mode(const char *route, enum route_mode mode)
{
    struct config *c = config_with_route_mode(process.config, route, mode);
    if (c == NULL)
        return memory_copy_text("there is no route block of that name");
    workers_reload(c);
    open_http(c);
    config_release(process.config);
    process.config = c;
    LOG(LOG_INFO, "route set", log_text("route", route), log_text("mode", route_mode_name(mode)));
    return NULL;
}

/* --- the end ---------------------------------------------------------------------------------------------- */

/* At least as long an event gets that was released at the very end; and all that follows drain_timeout is over in less than END_MS. */
enum { LAST_DELIVERIES_MS = 1000, END_MS = 15 * 1000 };

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

/* `replaced`: another process listens in our place (P12). */
static void drain(bool replaced)
{
    process.drained_ms = monotonic_ms() + process.config->drain_timeout_ms;
    LOG(LOG_INFO, "draining", log_number("timeout_ms", process.config->drain_timeout_ms),
        log_bool("replaced", replaced));
    doors_close();
    if (replaced)
        http_close();
    else
        http_drain();
    systemd_stopping("draining", process.config->drain_timeout_ms + END_MS);
    workers_drain(process.config->drain_timeout_ms, replaced);
}

static void on_terminate(void *context)
{
    (void)context;
    if (!process.workers_ended)
        drain(false);
}

static void on_replaced(void)
{
    if (!process.stopping && process.drained_ms == 0)
        drain(true);
}

static void stop(void)
{
    process.stopping = true;
    LOG(LOG_INFO, "stopping");
    systemd_stopping("stopping", END_MS);
    doors_close();
    http_drain();
    if (process.workers_ended)
        dispatch_finish(0, on_dispatch_finished, NULL);
    else
        workers_stop();
}

static void on_interrupt(void *context)
{
    (void)context;
    if (process.stopping) {
        log_flush();
        _exit(EXIT_FAILURE);
    }
    stop();
}

/* What the console may ask for; the workers have not ended then. */
static void drain_by_order(void)
{
    if (!process.stopping && process.drained_ms == 0)
        drain(false);
}

static void stop_by_order(void)
{
    if (!process.stopping)
        stop();
}

static const struct process_orders orders = { reload, set_route_mode, drain_by_order, stop_by_order };

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
    struct dial_targets targets = {
        .hosts = d->hosts, .ports = d->ports, .timeout_ms = d->connect_timeout_ms, .tcp = &d->tcp
    };
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
    dispatch_start(process.config);
    LOG(LOG_INFO, "started", log_text("version", PGATOMIC_VERSION), log_number("pid", (uint64_t)getpid()));
    log_flush();
    process_set_orders(&orders);
    systemd_ready(workers_first_loop());
    workers_run();
    doors_end();
    finish_deliveries();
    http_close();
    recent_keep(false);
    averages_keep(NULL, false);
    LOG(LOG_INFO, "stopped");
}

/* Nobody's clients are touched before all that could fail has been tried. */
static bool can_run(struct config *c, const struct run_options *options)
{
    return encryption_load(c) && systemd_inherit() && doors_open(c, options->takeover) && open_http(c) &&
           doors_leave_none_over() && (!options->require_upstream || try_upstreams(c)) && doors_take_place(on_replaced);
}

int run_proxy(struct config *config_take, const struct run_options *options)
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
    bool runs = can_run(config_take, options);
    if (runs)
        run_workers();
    http_close();
    doors_close();
    doors_end();
    systemd_end();
    for (size_t i = 0; i < 3; i++)
        loop_unwatch_signal(watches[i]);
    workers_free();
    encryption_free();
    config_release(process.config);
    log_end_thread();
    return runs ? EXIT_SUCCESS : EXIT_FAILURE;
}
