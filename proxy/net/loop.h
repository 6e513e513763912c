/* A thread's event loop, and what every connection on it shares.
 *
 * One loop, one thread: nothing here may be called from another one, except loop_post(). */
#ifndef PROXY_NET_LOOP_H
#define PROXY_NET_LOOP_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct loop_message;
struct signal_watch;

enum { LOOP_SCRATCH_SIZE = 128 * 1024 };

struct loop {
    struct event_base *base;
    char *scratch; /* LOOP_SCRATCH_SIZE bytes, for the callback that runs */
    uint64_t now_us;
    bool now_known;
    bool stopped;
    void (*on_turn_end)(void *context); /* after every turn, when all its callbacks have run */
    void *context;

    pthread_mutex_t lock; /* of what stands below */
    struct loop_message *first_message, **last_message;
    int wake_fd;
    void *wake; /* libevent's event for it */
};

void loop_init(struct loop *l, void (*on_turn_end)(void *context), void *context);
void loop_destroy(struct loop *l);
/* Runs until loop_stop(). May be called again. */
void loop_run(struct loop *l);
void loop_stop(struct loop *l);

/* The time (clock.h), read at most once in a turn. */
uint64_t loop_now_us(struct loop *l);

/* Has `act(context)` called on the loop's thread, in the order of posting; at the latest by loop_destroy(). From any thread. */
void loop_post(struct loop *l, void (*act)(void *context), void *context);

/* Calls `on_signal` on this loop whenever the process gets `number`. A signal belongs to one loop of the process. */
struct signal_watch *loop_watch_signal(struct loop *l, int number, void (*on_signal)(void *context), void *context);
void loop_unwatch_signal(struct signal_watch *watch);

/* --- timers ------------------------------------------------------------------------------------- */

/* One shot. Costs no system call: the loop sleeps no longer than the first of them. */
struct timer;

struct timer *timer_new(struct loop *l, void (*on_time)(void *context), void *context);
void timer_start(struct timer *t, uint64_t delay_us); /* again, if it runs already */
void timer_stop(struct timer *t);
bool timer_is_running(const struct timer *t);
void timer_free(struct timer *t); /* NULL: nothing */

#endif
