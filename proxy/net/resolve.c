/* Name resolution on threads.
 *
 * A name has one entry in its loop's resolver:
 *
 *     (none) --find--> ASKED --answer--> KNOWN --too old, find--> ASKED
 *
 * The thread owns a question of its own and posts it back to the loop with the answer in it. When the resolver is gone by then,
 * the question is an orphan, and the thread frees it. */
#include "proxy/net/resolve.h"

#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/memory.h"

enum { REMEMBER_US = 15 * 1000 * 1000, ADDRESSES_MAX = 16, ERROR_SIZE = 128 };

struct answer {
    struct address list[ADDRESSES_MAX];
    size_t count;
    char error[ERROR_SIZE];
};

struct question {
    pthread_mutex_t lock; /* of `entry` */
    struct entry *entry;  /* NULL: nobody wants the answer */
    struct loop *loop;
    struct answer answer;
    char host[];
};

struct resolver_wait {
    struct resolver_wait *next;
    struct resolver_wait **link; /* what points here */
    resolver_found *found;
    void *context;
};

struct entry {
    struct entry *next;
    struct question *question; /* NULL: nothing is under way */
    struct resolver_wait *waiting;
    struct answer answer;
    uint64_t known_us; /* 0: never */
    struct loop *loop;
    char host[];
};

struct resolver {
    struct loop *loop;
    struct entry *entries;
};

struct resolver *resolver_new(struct loop *l)
{
    struct resolver *r = or_abort(malloc(sizeof *r));
    *r = (struct resolver){ .loop = l };
    return r;
}

static void question_free(struct question *q)
{
    pthread_mutex_destroy(&q->lock);
    free(q);
}

void resolver_free(struct resolver *r)
{
    for (struct entry *e = r->entries; e != NULL;) {
        struct entry *next = e->next;
        if (e->question != NULL) {
            pthread_mutex_lock(&e->question->lock);
            e->question->entry = NULL;
            pthread_mutex_unlock(&e->question->lock);
        }
        free(e);
        e = next;
    }
    free(r);
}

/* --- the thread ---------------------------------------------------------------------------------- */

static void look_up(const char *host, struct answer *out)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
    struct addrinfo *first = NULL;
    int result = getaddrinfo(host, NULL, &hints, &first);
    if (result != 0) {
        snprintf(out->error, sizeof out->error, "%s", gai_strerror(result));
        return;
    }
    for (struct addrinfo *i = first; i != NULL && out->count < ADDRESSES_MAX; i = i->ai_next) {
        if (i->ai_family != AF_INET && i->ai_family != AF_INET6)
            continue;
        struct address *a = &out->list[out->count++];
        a->size = i->ai_addrlen;
        memcpy(&a->any, i->ai_addr, i->ai_addrlen);
    }
    freeaddrinfo(first);
    if (out->count == 0)
        snprintf(out->error, sizeof out->error, "it has no address");
}

/* While nobody can say where a name is, it is where it was; nor is everybody made to wait for a server of names that does not answer. */
static void remember(struct entry *e, const struct answer *a)
{
    if (a->count > 0 || e->answer.count == 0)
        e->answer = *a;
    e->known_us = loop_now_us(e->loop);
}

static void on_answer(void *context)
{
    struct question *q = context;
    pthread_mutex_lock(&q->lock); /* the thread has let go of it after this */
    struct entry *e = q->entry;
    pthread_mutex_unlock(&q->lock);
    if (e == NULL) {
        question_free(q);
        return;
    }
    remember(e, &q->answer);
    e->question = NULL;
    question_free(q);
    while (e->waiting != NULL) {
        struct resolver_wait *wait = e->waiting;
        resolver_found *found = wait->found;
        void *for_whom = wait->context;
        resolver_forget(wait);
        found(for_whom, e->answer.list, e->answer.count, e->answer.error);
    }
}

static void *run_question(void *arg)
{
    struct question *q = arg;
    look_up(q->host, &q->answer);
    pthread_mutex_lock(&q->lock);
    bool orphan = q->entry == NULL;
    if (!orphan)
        loop_post(q->loop, on_answer, q);
    pthread_mutex_unlock(&q->lock);
    if (orphan)
        question_free(q);
    return NULL;
}

/* --- asking -------------------------------------------------------------------------------------- */

static struct entry *find_entry(struct resolver *r, const char *host)
{
    for (struct entry *e = r->entries; e != NULL; e = e->next)
        if (strcmp(e->host, host) == 0)
            return e;
    size_t size = strlen(host) + 1;
    struct entry *e = or_abort(calloc(1, sizeof *e + size));
    memcpy(e->host, host, size);
    e->loop = r->loop;
    e->next = r->entries;
    r->entries = e;
    return e;
}

/* Signals belong to the loop's threads, so this one blocks them all. */
static bool start_thread(struct question *q)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    pthread_t thread;
    int result = pthread_create(&thread, &detached, run_question, q);
    pthread_attr_destroy(&detached);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return result == 0;
}

static bool ask(struct entry *e)
{
    size_t size = strlen(e->host) + 1;
    struct question *q = or_abort(calloc(1, sizeof *q + size));
    memcpy(q->host, e->host, size);
    pthread_mutex_init(&q->lock, NULL);
    q->loop = e->loop;
    q->entry = e;
    if (!start_thread(q)) {
        question_free(q);
        return false;
    }
    e->question = q;
    return true;
}

struct resolver_wait *resolver_find(struct resolver *r, const char *host, resolver_found *found, void *context)
{
    struct entry *e = find_entry(r, host);
    bool is_fresh = e->answer.count > 0 && loop_now_us(r->loop) - e->known_us < REMEMBER_US;
    if (e->question == NULL && is_fresh) {
        found(context, e->answer.list, e->answer.count, "");
        return NULL;
    }
    if (e->question == NULL && !ask(e)) {
        found(context, NULL, 0, "no thread could be started to resolve it");
        return NULL;
    }
    struct resolver_wait *wait = or_abort(malloc(sizeof *wait));
    *wait = (struct resolver_wait){ .next = e->waiting, .link = &e->waiting, .found = found, .context = context };
    if (wait->next != NULL)
        wait->next->link = &wait->next;
    e->waiting = wait;
    return wait;
}

void resolver_forget(struct resolver_wait *wait)
{
    *wait->link = wait->next;
    if (wait->next != NULL)
        wait->next->link = wait->link;
    free(wait);
}
