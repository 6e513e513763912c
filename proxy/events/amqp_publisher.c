/* A thread that publishes, and a loop that waits for nothing.
 *
 * A letter is one delivery on its way. It goes round, in the order in which it was handed over:
 *
 *     loop: gathered --flush--> queue        (locked)
 *   thread:                     queue --> waiting --publish--> sent --the broker's answer--> answered
 *     loop:                                                    delivery_done() <-- settled   (locked) <--'
 *
 * The thread sleeps in poll() on its letterbox and on the broker's socket, and works until both are empty. What can stop it in the middle of
 * something, a broker that reads or says nothing, ends by itself after the sink's timeout, or when close() shuts the socket down. Only
 * connecting cannot be interrupted: a thread that is found there is left to itself, and has nothing of anybody's in its hands but
 * what it owns.
 *
 * Order: answers count in the order of publishing, so that a failure is known before anything behind it is called delivered. The names of
 * channels that failed are kept until the loop has been told; whatever was handed over before that, and is of such a channel, fails too. The
 * loop numbers what it hands over with the last report of failures that it has read (`seen`), the thread counts its reports. */
#include "proxy/events/amqp_publisher.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "protocol/memory.h"
#include "proxy/events/amqp_connection.h"
#include "proxy/events/amqp_letter.h"
#include "proxy/ops/log.h"
#include "proxy/ops/uuid.h"

#define TAKEN_ALONG "another message could not be sent and took the connection with it"

enum { ROUTING_KEY_MAX_SIZE = 255, MS_PER_S = 1000, HEAR_EVERY = 16 /* letters */ };

struct amqp_publisher {
    struct amqp_settings settings;
    char *name;
    atomic_int references; /* of its owner, its thread, and of each message under way to the loop */
    struct loop *loop;
    pthread_t thread;

    /* The loop's. */
    struct letters gathered;
    uint64_t seen;

    pthread_mutex_t lock; /* of what stands below */
    struct letters queue, settled;
    uint64_t reports; /* with failures in them that went to the loop */
    int socket;       /* -1: none that may be shut down */
    bool dialing, closed;
    int wake_fd;

    /* The thread's. */
    struct amqp_connection *connection; /* NULL: none */
    struct letters waiting, sent, answered;
    uint64_t first_sent; /* the broker's number of the first of `sent` */
    uint64_t heard_ms;   /* monotonic: when it confirmed something last */
    bool is_proven;      /* it has confirmed something on this connection */
    bool paused;         /* it has asked to wait until it says more */
    struct failures failures;
    bool has_failures; /* among `answered` */
};

/* --- the thread: order ----------------------------------------------------------------------------- */

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void settle(struct amqp_publisher *p, struct letter *letter, enum delivery_result result, const char *reason)
{
    failures_forget(&p->failures, letter->seen);
    if (failures_forbid(&p->failures, letter)) {
        result = DELIVERY_FAILED;
        reason = "it is behind an event of its channel that failed";
    }
    letter->result = result;
    if (result != DELIVERED)
        letter->reason = memory_copy_text(reason);
    if (result == DELIVERY_FAILED) {
        p->has_failures = true;
        failures_add(&p->failures, letter, p->reports + 1);
    }
    letters_add(&p->answered, letter);
}

static void fail_all(struct amqp_publisher *p, struct letters *list, const char *reason)
{
    while (list->first != NULL)
        settle(p, letters_take_first(list), DELIVERY_FAILED, reason);
}

/* --- the thread: the connection -------------------------------------------------------------------- */

static bool is_closed(struct amqp_publisher *p)
{
    pthread_mutex_lock(&p->lock);
    bool closed = p->closed;
    pthread_mutex_unlock(&p->lock);
    return closed;
}

static void set_socket(struct amqp_publisher *p, int socket, bool dialing)
{
    pthread_mutex_lock(&p->lock);
    p->socket = socket;
    p->dialing = dialing;
    pthread_mutex_unlock(&p->lock);
}

static void drop_connection(struct amqp_publisher *p, bool politely)
{
    if (p->connection == NULL)
        return;
    set_socket(p, -1, false);
    amqp_connection_free(p->connection, politely);
    p->connection = NULL;
    p->paused = false;
}

/* What was published and not confirmed is as lost as what waits: nobody knows what the broker has of it. */
static void lose_connection(struct amqp_publisher *p, const char *reason)
{
    LOG(LOG_WARN, "sink_disconnected", log_text("sink", p->name), log_text("reason", reason));
    drop_connection(p, false);
    fail_all(p, &p->sent, reason);
    fail_all(p, &p->waiting, reason);
}

/* While it is under way, letters stay in the queue, where close() can reach them. */
static bool connect_to_broker(struct amqp_publisher *p, char reason[AMQP_REASON_SIZE])
{
    set_socket(p, -1, true);
    p->connection = amqp_connection_dial(&p->settings, reason);
    set_socket(p, p->connection != NULL ? amqp_connection_socket(p->connection) : -1, false);
    if (p->connection == NULL || is_closed(p))
        return false;
    if (!amqp_connection_log_in(p->connection, &p->settings, reason)) {
        drop_connection(p, false);
        return false;
    }
    p->first_sent = 1;
    p->is_proven = false;
    LOG(LOG_INFO, "sink_connected", log_text("sink", p->name));
    return true;
}

/* The broker forgets what it has not confirmed when it closes a channel. */
static void reopen_channel(struct amqp_publisher *p, const char *why)
{
    char reason[AMQP_REASON_SIZE] = "";
    fail_all(p, &p->sent, why);
    p->first_sent = 1;
    if (!amqp_connection_open_channel(p->connection, reason))
        lose_connection(p, reason);
}

/* --- the thread: publishing and answers ------------------------------------------------------------ */

static void publish(struct amqp_publisher *p, struct letter *letter)
{
    char id[UUID_TEXT_SIZE], reason[AMQP_REASON_SIZE];
    uuid_format(letter->delivery->event->id, id);
    switch (amqp_connection_publish(p->connection, &letter->message, id, reason)) {
    case AMQP_SENT:
        letters_add(&p->sent, letter);
        return;
    case AMQP_UNFIT:
        fail_all(p, &p->sent, TAKEN_ALONG);
        settle(p, letter, DELIVERY_REFUSED, reason);
        lose_connection(p, TAKEN_ALONG);
        return;
    case AMQP_BROKEN:
        letters_add(&p->sent, letter);
        lose_connection(p, reason);
        return;
    }
}

/* A broker that is low on memory says so after the first message. More would fill the socket, and be read long after they were given up. */
static bool may_publish(const struct amqp_publisher *p)
{
    return p->waiting.first != NULL && p->connection != NULL && !p->paused && (p->is_proven || p->sent.first == NULL);
}

static void publish_waiting(struct amqp_publisher *p)
{
    for (unsigned n = 0; n < HEAR_EVERY && may_publish(p); n++) {
        struct letter *letter = letters_take_first(&p->waiting);
        if (failures_forbid(&p->failures, letter))
            settle(p, letter, DELIVERY_FAILED, NULL);
        else
            publish(p, letter);
    }
}

/* Nothing is settled ahead of what was published before it. */
static void settle_answered(struct amqp_publisher *p)
{
    while (p->sent.first != NULL && p->sent.first->answer != ANSWER_NONE) {
        struct letter *letter = letters_take_first(&p->sent);
        p->first_sent++;
        if (letter->returned != NULL)
            settle(p, letter, DELIVERY_FAILED, letter->returned);
        else if (letter->answer == ANSWER_REJECTED)
            settle(p, letter, DELIVERY_FAILED, "the broker could not keep it (basic.nack)");
        else
            settle(p, letter, DELIVERED, NULL);
    }
}

static void hear_answer(struct amqp_publisher *p, const struct amqp_news *news, enum answer answer)
{
    uint64_t number = p->first_sent;
    for (struct letter *letter = p->sent.first; letter != NULL && number <= news->number;
         letter = letter->next, number++)
        if (letter->answer == ANSWER_NONE && (news->multiple || number == news->number))
            letter->answer = answer;
    p->heard_ms = now_ms();
    p->is_proven = true;
    settle_answered(p);
}

static void hear_return(struct amqp_publisher *p, const struct amqp_news *news)
{
    for (struct letter *letter = p->sent.first; letter != NULL; letter = letter->next) {
        char id[UUID_TEXT_SIZE];
        uuid_format(letter->delivery->event->id, id);
        if (letter->returned == NULL && strcmp(id, news->id) == 0) {
            letter->returned = memory_copy_text(news->reason);
            return;
        }
    }
}

static void hear(struct amqp_publisher *p, const struct amqp_news *news)
{
    switch (news->kind) {
    case AMQP_NOTHING_NEW:
        return;
    case AMQP_CONFIRMED:
        hear_answer(p, news, ANSWER_CONFIRMED);
        return;
    case AMQP_REJECTED:
        hear_answer(p, news, ANSWER_REJECTED);
        return;
    case AMQP_RETURNED:
        hear_return(p, news);
        return;
    case AMQP_CHANNEL_CLOSED:
        reopen_channel(p, news->reason);
        return;
    case AMQP_PAUSED:
        LOG(LOG_WARN, "sink_paused", log_text("sink", p->name), log_text("reason", news->reason));
        p->paused = true;
        return;
    case AMQP_RESUMED:
        LOG(LOG_INFO, "sink_resumed", log_text("sink", p->name));
        p->paused = false;
        p->heard_ms = now_ms();
        return;
    case AMQP_LOST:
        lose_connection(p, news->reason);
        return;
    }
}

static void hear_broker(struct amqp_publisher *p)
{
    struct amqp_news news = { .kind = AMQP_LOST };
    while (p->connection != NULL && news.kind != AMQP_NOTHING_NEW) {
        amqp_connection_next(p->connection, &news);
        hear(p, &news);
    }
}

/* When the oldest letter in the thread's hands is due; 0: there is none. A broker that is slow with many, but at it, has its time with each; one
 * that asks to wait, and keeps its heartbeat, has all the time it wants. */
static uint64_t first_due_ms(const struct amqp_publisher *p)
{
    const struct letter *oldest = p->sent.first != NULL ? p->sent.first : p->waiting.first;
    if (oldest == NULL || p->paused)
        return 0;
    uint64_t if_heard_ms = p->heard_ms + p->settings.timeout_ms;
    return oldest->due_ms > if_heard_ms ? oldest->due_ms : if_heard_ms;
}

static void check_due(struct amqp_publisher *p)
{
    uint64_t due = first_due_ms(p);
    if (due == 0 || now_ms() < due)
        return;
    lose_connection(p, "the broker has confirmed nothing in time");
}

/* --- the thread: its letterbox --------------------------------------------------------------------- */

static void report(void *context);

/* Gives back what was settled, and tells the loop when it must look. */
static void hand_back(struct amqp_publisher *p)
{
    log_flush();
    if (p->answered.first == NULL)
        return;
    pthread_mutex_lock(&p->lock);
    bool post = p->settled.first == NULL && !p->closed;
    letters_move(&p->answered, &p->settled);
    if (p->has_failures)
        p->reports++;
    p->has_failures = false;
    if (post) {
        atomic_fetch_add(&p->references, 1);
        loop_post(p->loop, report, p);
    }
    pthread_mutex_unlock(&p->lock);
}

/* True when there is a reason to connect, and nothing was taken yet. */
static bool queue_needs_connection(struct amqp_publisher *p)
{
    pthread_mutex_lock(&p->lock);
    bool needs = p->queue.first != NULL && p->connection == NULL && !p->closed;
    pthread_mutex_unlock(&p->lock);
    return needs;
}

static void take_queue(struct amqp_publisher *p)
{
    struct letters taken;
    letters_init(&taken);
    pthread_mutex_lock(&p->lock);
    letters_move(&p->queue, &taken);
    pthread_mutex_unlock(&p->lock);
    uint64_t due_ms = now_ms() + p->settings.timeout_ms;
    for (struct letter *letter = taken.first; letter != NULL; letter = letter->next)
        letter->due_ms = due_ms;
    letters_move(&taken, &p->waiting);
}

static void sleep_until_something(struct amqp_publisher *p)
{
    struct pollfd ready[2] = { { .fd = p->wake_fd, .events = POLLIN }, { .fd = -1, .events = POLLIN } };
    int wait_ms = -1;
    if (p->connection != NULL) {
        uint64_t due = first_due_ms(p), now = now_ms();
        ready[1].fd = amqp_connection_socket(p->connection);
        wait_ms = AMQP_HEARTBEAT_S * MS_PER_S / 2;
        if (due != 0 && due < now + (uint64_t)wait_ms)
            wait_ms = due > now ? (int)(due - now) : 0;
    }
    poll(ready, 2, wait_ms);
    if (ready[0].revents != 0) {
        eventfd_t count;
        (void)eventfd_read(p->wake_fd, &count);
    }
}

static void work(struct amqp_publisher *p)
{
    char reason[AMQP_REASON_SIZE] = "";
    bool failed = queue_needs_connection(p) && !connect_to_broker(p, reason);
    if (is_closed(p))
        return;
    take_queue(p);
    if (failed)
        fail_all(p, &p->waiting, reason);
    hear_broker(p);
    while (may_publish(p)) {
        publish_waiting(p);
        hear_broker(p);
    }
    check_due(p);
    hand_back(p);
}

static void publisher_release(struct amqp_publisher *p)
{
    if (atomic_fetch_sub(&p->references, 1) != 1)
        return;
    letters_free(&p->gathered);
    letters_free(&p->queue);
    letters_free(&p->settled);
    pthread_mutex_destroy(&p->lock);
    close(p->wake_fd);
    free(p->settings.host);
    free(p->settings.virtual_host);
    free(p->settings.user);
    free(p->settings.password);
    free(p->settings.ca);
    free(p->name);
    free(p);
}

static void *run_publisher(void *context)
{
    struct amqp_publisher *p = context;
    while (!is_closed(p)) {
        sleep_until_something(p);
        work(p);
    }
    drop_connection(p, p->sent.first == NULL && p->waiting.first == NULL);
    letters_free(&p->waiting);
    letters_free(&p->sent);
    letters_free(&p->answered);
    failures_forget(&p->failures, UINT64_MAX);
    log_end_thread();
    publisher_release(p);
    return NULL;
}

/* --- the loop -------------------------------------------------------------------------------------- */

static void wake(struct amqp_publisher *p)
{
    (void)eventfd_write(p->wake_fd, 1);
}

static const char *or_default(const char *text, const char *otherwise)
{
    return text[0] != '\0' ? text : otherwise;
}

static void start_thread(struct amqp_publisher *p)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&p->thread, NULL, run_publisher, p) != 0)
        abort();
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

struct amqp_publisher *amqp_publisher_new(const struct sink *config, const struct sink_host *host)
{
    struct amqp_publisher *p = or_abort(malloc(sizeof *p));
    const struct sink_url *url = &config->parts;
    *p = (struct amqp_publisher){ .loop = host->loop, .socket = -1, .name = memory_copy_text(config->name) };
    p->settings = (struct amqp_settings){
        .host = memory_copy_text(or_default(url->host, "localhost")),
        .virtual_host = memory_copy_text(or_default(url->path, "/")),
        .user = memory_copy_text(or_default(url->user, "guest")),
        .password = memory_copy_text(url->user[0] != '\0' ? url->password : "guest"),
        .ca = memory_copy_text(config->ca),
        .port = url->port,
        .tls = url->tls,
        .timeout_ms = config->timeout_ms,
    };
    letters_init(&p->gathered);
    letters_init(&p->queue);
    letters_init(&p->settled);
    letters_init(&p->waiting);
    letters_init(&p->sent);
    letters_init(&p->answered);
    atomic_init(&p->references, 2);
    pthread_mutex_init(&p->lock, NULL);
    p->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (p->wake_fd < 0)
        abort();
    start_thread(p);
    return p;
}

void amqp_publisher_send(struct amqp_publisher *p, struct delivery *d, const struct amqp_message *m, void *owner_take,
                         void (*owner_free)(void *owner))
{
    if (strlen(m->routing_key) > ROUTING_KEY_MAX_SIZE || strlen(m->exchange) > ROUTING_KEY_MAX_SIZE) {
        if (owner_free != NULL)
            owner_free(owner_take);
        delivery_done(d, DELIVERY_REFUSED, "an exchange's name and a routing key have at most 255 bytes", 0);
        return;
    }
    struct letter *letter = or_abort(malloc(sizeof *letter));
    *letter =
        (struct letter){ .delivery = d, .message = *m, .owner = owner_take, .owner_free = owner_free, .seen = p->seen };
    letters_add(&p->gathered, letter);
}

void amqp_publisher_flush(struct amqp_publisher *p)
{
    if (p->gathered.first == NULL)
        return;
    pthread_mutex_lock(&p->lock);
    letters_move(&p->gathered, &p->queue);
    pthread_mutex_unlock(&p->lock);
    wake(p);
}

/* On the loop: what the thread has settled. After close() nobody wants to know. */
static void report(void *context)
{
    struct amqp_publisher *p = context;
    struct letters settled;
    letters_init(&settled);
    pthread_mutex_lock(&p->lock);
    bool closed = p->closed;
    if (!closed)
        letters_move(&p->settled, &settled);
    p->seen = p->reports;
    pthread_mutex_unlock(&p->lock);
    while (settled.first != NULL) {
        struct letter *letter = letters_take_first(&settled);
        delivery_done(letter->delivery, letter->result, letter->reason, 0);
        letter_free(letter);
    }
    publisher_release(p);
}

void amqp_publisher_close(struct amqp_publisher *p)
{
    pthread_mutex_lock(&p->lock);
    p->closed = true;
    bool busy = p->dialing;
    if (p->socket >= 0)
        shutdown(p->socket, SHUT_RDWR);
    pthread_mutex_unlock(&p->lock);
    wake(p);
    if (busy)
        pthread_detach(p->thread);
    else
        pthread_join(p->thread, NULL);
    publisher_release(p);
}
