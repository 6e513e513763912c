/* The event loop: libevent's base, turned one turn at a time.
 *
 * A turn is one wait and the callbacks of all that became ready. Between turns stands what is worth doing once for many
 * connections: writing the log, and forgetting the time. Other threads reach a loop only by its letterbox, a locked list
 * and an eventfd; the base itself is unlocked, which every callback would otherwise pay for. */
#include "proxy/net/loop.h"

#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "protocol/memory.h"
#include "proxy/clock.h"

struct loop_message {
    struct loop_message *next;
    void (*act)(void *context);
    void *context;
};

static void act_on_messages(struct loop *l)
{
    pthread_mutex_lock(&l->lock);
    struct loop_message *m = l->first_message;
    l->first_message = NULL;
    l->last_message = &l->first_message;
    pthread_mutex_unlock(&l->lock);
    while (m != NULL) {
        struct loop_message *next = m->next;
        m->act(m->context);
        free(m);
        m = next;
    }
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    eventfd_t count;
    (void)eventfd_read(fd, &count);
    act_on_messages(arg);
}

void loop_init(struct loop *l, void (*on_turn_end)(void *context), void *context)
{
    *l = (struct loop){ .on_turn_end = on_turn_end, .context = context };
    struct event_config *config = or_abort(event_config_new());
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    l->base = or_abort(event_base_new_with_config(config));
    event_config_free(config);
    l->scratch = or_abort(malloc(LOOP_SCRATCH_SIZE));

    pthread_mutex_init(&l->lock, NULL);
    l->last_message = &l->first_message;
    l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (l->wake_fd < 0)
        abort();
    l->wake = or_abort(event_new(l->base, l->wake_fd, EV_READ | EV_PERSIST, on_wake, l));
    event_add(l->wake, NULL);
}

void loop_destroy(struct loop *l)
{
    while (l->first_message != NULL) /* one may post another */
        act_on_messages(l);
    event_free(l->wake);
    close(l->wake_fd);
    pthread_mutex_destroy(&l->lock);
    event_base_free(l->base);
    free(l->scratch);
}

void loop_run(struct loop *l)
{
    l->stopped = false;
    while (!l->stopped) {
        l->now_known = false;
        if (event_base_loop(l->base, EVLOOP_ONCE) < 0)
            abort();
        l->on_turn_end(l->context);
    }
}

void loop_stop(struct loop *l)
{
    l->stopped = true;
}

uint64_t loop_now_us(struct loop *l)
{
    if (!l->now_known) {
        l->now_us = clock_now_us();
        l->now_known = true;
    }
    return l->now_us;
}

void loop_post(struct loop *l, void (*act)(void *context), void *context)
{
    struct loop_message *m = or_abort(malloc(sizeof *m));
    *m = (struct loop_message){ .act = act, .context = context };
    pthread_mutex_lock(&l->lock);
    bool was_empty = l->first_message == NULL;
    *l->last_message = m;
    l->last_message = &m->next;
    /* Inside the lock, so that the loop cannot have been destroyed by what this message asks for. */
    if (was_empty)
        (void)eventfd_write(l->wake_fd, 1);
    pthread_mutex_unlock(&l->lock);
}

struct signal_watch {
    struct event *event;
    void (*on_signal)(void *context);
    void *context;
};

static void on_signal_event(evutil_socket_t number, short what, void *arg)
{
    (void)number, (void)what;
    struct signal_watch *watch = arg;
    watch->on_signal(watch->context);
}

struct signal_watch *loop_watch_signal(struct loop *l, int number, void (*on_signal)(void *context), void *context)
{
    struct signal_watch *watch = or_abort(malloc(sizeof *watch));
    *watch = (struct signal_watch){ .on_signal = on_signal, .context = context };
    watch->event = or_abort(evsignal_new(l->base, number, on_signal_event, watch));
    evsignal_add(watch->event, NULL);
    return watch;
}

void loop_unwatch_signal(struct signal_watch *watch)
{
    event_free(watch->event);
    free(watch);
}

/* --- timers ------------------------------------------------------------------------------------- */

struct timer {
    struct event *event;
    bool running;
    void (*on_time)(void *context);
    void *context;
};

static void on_timer_event(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct timer *t = arg;
    t->running = false;
    t->on_time(t->context);
}

struct timer *timer_new(struct loop *l, void (*on_time)(void *context), void *context)
{
    struct timer *t = or_abort(malloc(sizeof *t));
    *t = (struct timer){ .on_time = on_time, .context = context };
    t->event = or_abort(evtimer_new(l->base, on_timer_event, t));
    return t;
}

void timer_start(struct timer *t, uint64_t delay_us)
{
    struct timeval delay = { .tv_sec = (time_t)(delay_us / 1000000), .tv_usec = (suseconds_t)(delay_us % 1000000) };
    evtimer_add(t->event, &delay);
    t->running = true;
}

void timer_stop(struct timer *t)
{
    evtimer_del(t->event);
    t->running = false;
}

bool timer_is_running(const struct timer *t)
{
    return t->running;
}

void timer_free(struct timer *t)
{
    if (t == NULL)
        return;
    event_free(t->event);
    free(t);
}
