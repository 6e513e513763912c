/* The process: signals, reload, the end.
 *
 *     SIGHUP    the file is read again; what does not check is logged and changes nothing
 *     SIGTERM   no new clients; each one goes when it is between requests, all of them after drain_timeout; in what is left of that
 *               time, the events that they have released are delivered
 *     takeover  another process listens in our place: as for SIGTERM, but who has just come is served first (P12)
 *     SIGINT    all of them now, and no more deliveries; a second one does not wait for their last words. SIGQUIT is the same
 *     SIGUSR1   as the console's PAUSE of all databases; SIGUSR2: as its RESUME */
#include "proxy/run.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "protocol/memory.h"

#include "proxy/check_files.h"
#include "proxy/descriptors.h"
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
#include "proxy/pool/pool.h"
#include "proxy/version.h"
#include "proxy/worker.h"

static struct {
    struct config *config;
    bool stopping; /* SIGINT came */
    bool workers_ended;
    uint64_t drained_ms; /* on the monotonic clock, when draining is over; 0: nobody asked for it */
} process;

static bool is_ending(void)
{
    return process.stopping || process.drained_ms > 0;
}

/* Events are kept for whoever may want to see them. False, and it is logged, when the address cannot be had. */
static bool open_http(struct config *c)
{
    char error[256];
    recent_keep(c->http.text[0] != '\0' || config_has_console(c));
    averages_keep(workers_first_loop(), config_has_console(c));
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
    if (c != NULL && !check_files(c, errors)) {
        config_release(c);
        c = NULL;
    }
    fclose(errors);
    return c;
}

static unsigned worker_count(const struct config *c)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (c->workers > 0)
        return c->workers;
    return cores > 0 ? (unsigned)cores : 1;
}

static void add_missing(struct buffer *missing, const char *what)
{
    if (missing->size > 0)
        buffer_append_text(missing, "; ");
    buffer_append_text(missing, what);
}

static void reload_log(const struct config *c, struct buffer *missing)
{
    if (log_open(c))
        return;
    LOG(LOG_ERROR, "cannot open the log file, the old one stays", log_text("file", c->log.file),
        log_text("error", strerror(errno)));
    add_missing(missing, "the log file cannot be opened, the old one stays");
}

static void reload_workers(const struct config *c, struct buffer *missing)
{
    static const char restart[] = "a change of workers takes a restart";
    if (worker_count(c) == workers_count())
        return;
    LOG(LOG_WARN, restart);
    add_missing(missing, restart);
}

/* Returns what of it has not come true, to be freed; NULL: nothing. The log has it, and why. */
static char *take_config(struct config *c)
{
    struct buffer missing = { 0 };
    reload_log(c, &missing);
    reload_workers(c, &missing);
    doors_close_unwanted(c);
    if (!doors_open(c, false))
        add_missing(&missing, "not all addresses can be listened on: the log says why");
    if (!open_http(c))
        add_missing(&missing, "the address of http cannot be listened on: the log says why");
    if (!encryption_load(c))
        add_missing(&missing, "files of TLS cannot be used, the old ones stay: the log says why");
    descriptors_warn(c);
    workers_reload(c);
    dispatch_reload(c);
    config_release(process.config);
    process.config = c;
    LOG(LOG_INFO, "config reloaded", log_text("file", c->file));
    if (missing.size > 0)
        buffer_append_u8(&missing, '\0');
    return missing.data;
}

/* Without a file there is nothing else to read again. NULL, or why not, to be freed. */
static char *reload_nothing(void)
{
    struct buffer missing = { 0 };
    reload_log(process.config, &missing);
    if (missing.size > 0)
        buffer_append_u8(&missing, '\0');
    return missing.data;
}

/* NULL, or why not, to be freed. `*notice`: what it has not brought about, to be freed; NULL: nothing. */
static char *reload(char **notice)
{
    *notice = NULL;
    if (is_ending()) /* doors that have closed stay closed */
        return memory_copy_text("the process is about to end");
    if (process.config->file[0] == '\0')
        return reload_nothing();
    systemd_reloading();
    char *errors = NULL;
    struct config *c = read_again(process.config->file, &errors);
    if (c == NULL) {
        log_errors(errors);
        systemd_reloaded("the new config was refused: the old one is in force");
        return errors;
    }
    free(errors);
    *notice = take_config(c);
    systemd_reloaded(*notice);
    return NULL;
}

static void on_hangup(void *context)
{
    (void)context;
    char *notice; /* the log has it */
    free(reload(&notice));
    free(notice);
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

/* --- pauses -------------------------------------------------------------------------------------------- */

static void on_paused(void *context, enum pool_pause_end end)
{
    (void)context;
    switch (end) {
    case POOL_PAUSE_HOLDS:
        LOG(LOG_INFO, "paused");
        return;
    case POOL_PAUSE_LATE:
        LOG(LOG_WARN, "pause taken back", log_text("error", "there are still servers in use after drain_timeout"));
        return;
    case POOL_PAUSE_RESUMED:
        LOG(LOG_WARN, "pause taken back", log_text("error", "it was resumed before all servers were closed"));
        return;
    }
}

static void on_pause(void *context)
{
    (void)context;
    const char *why_not = NULL;
    if (is_ending())
        why_not = "the process is about to end";
    else if (!config_has_pool(process.config, NULL))
        why_not = "there is no pool: every client has a server of its own";
    if (why_not != NULL) {
        LOG(LOG_WARN, "SIGUSR1 ignored", log_text("error", why_not));
        return;
    }
    LOG(LOG_INFO, "pausing", log_number("timeout_ms", process.config->drain_timeout_ms));
    pool_pause(NULL, worker_at(0), process.config->drain_timeout_ms, on_paused, NULL);
}

static void on_resume(void *context)
{
    (void)context;
    if (pool_resume(NULL))
        LOG(LOG_INFO, "resumed");
    else
        LOG(LOG_WARN, "SIGUSR2 ignored", log_text("error", "nothing is paused"));
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

static void drain_by_order(void)
{
    if (!is_ending())
        drain(false);
}

static void on_terminate(void *context)
{
    (void)context;
    drain_by_order();
}

static void on_replaced(void)
{
    if (is_ending())
        http_close(); /* who has come answers there now */
    else
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

static void stop_by_order(void)
{
    if (!process.stopping)
        stop();
}

static const struct process_orders orders = { reload, set_route_mode, drain_by_order, stop_by_order };

/* --- the beginning ---------------------------------------------------------------------------------------- */

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
    log_flush(); /* it may take a while */
    for (size_t i = 0; i < c->database_count; i++)
        all = try_upstream(&c->databases[i]) && all;
    return all;
}

static const struct {
    int number;
    void (*act)(void *context);
} signals[] = {
    { SIGHUP, on_hangup },     { SIGTERM, on_terminate }, { SIGINT, on_interrupt },
    { SIGQUIT, on_interrupt }, { SIGUSR1, on_pause },     { SIGUSR2, on_resume },
};

enum { SIGNAL_COUNT = sizeof signals / sizeof *signals };

/* Until the loop runs it would not act on them: then they wait, and interrupt nothing. */
static void hold_signals(int how)
{
    sigset_t all;
    sigemptyset(&all);
    for (size_t i = 0; i < SIGNAL_COUNT; i++)
        sigaddset(&all, signals[i].number);
    pthread_sigmask(how, &all, NULL);
}

/* Who has been told to end while it got ready had better take nobody's place. */
static bool heeds_waiting_signals(void)
{
    sigset_t waiting;
    sigpending(&waiting);
    process.stopping =
        sigismember(&waiting, SIGTERM) || sigismember(&waiting, SIGINT) || sigismember(&waiting, SIGQUIT);
    if (process.stopping)
        LOG(LOG_INFO, "stopping");
    return process.stopping;
}

/* Before anybody can know that we are there, for whoever knows may stop us. */
static void watch_signals(struct signal_watch *watches[SIGNAL_COUNT])
{
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a log that is as large as it may be is like one on a full disk */
    for (size_t i = 0; i < SIGNAL_COUNT; i++) {
        /* What holds again once nobody watches: a second one must not cut the end short. */
        signal(signals[i].number, SIG_IGN);
        watches[i] = loop_watch_signal(workers_first_loop(), signals[i].number, signals[i].act, NULL);
    }
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
           doors_leave_none_over() && (!options->require_upstream || try_upstreams(c)) &&
           !(options->takeover && heeds_waiting_signals()) && doors_take_place(on_replaced);
}

int run_proxy(struct config *config_take, const struct run_options *options)
{
    process.config = config_take;
    if (!log_open(config_take)) {
        fprintf(stderr, "pgatomic: cannot open the log file %s: %s\n", config_take->log.file, strerror(errno));
        config_release(config_take);
        return EXIT_FAILURE;
    }
    descriptors_raise();
    descriptors_warn(config_take);
    workers_init(worker_count(config_take), config_take);
    struct signal_watch *watches[SIGNAL_COUNT];
    hold_signals(SIG_BLOCK);
    watch_signals(watches);
    bool runs = can_run(config_take, options);
    if (runs) {
        hold_signals(SIG_UNBLOCK);
        run_workers();
    }
    http_close();
    doors_close();
    doors_end();
    systemd_end();
    for (size_t i = 0; i < SIGNAL_COUNT; i++)
        loop_unwatch_signal(watches[i]);
    workers_free();
    encryption_free();
    config_release(process.config);
    log_end_thread();
    return runs || process.stopping ? EXIT_SUCCESS : EXIT_FAILURE;
}
