/* Two sets of counts under a lock, and a timer that replaces the older one. */
#include "proxy/ops/averages.h"

#include <pthread.h>
#include <string.h>

#include "proxy/net/loop.h"
#include "proxy/ops/snapshot.h"

enum { PERIOD_US = 60 * 1000 * 1000, SECOND_US = 1000 * 1000 };

static struct {
    struct timer *timer; /* NULL: off */
    struct loop *loop;
    struct snapshot_question *question;

    pthread_mutex_t lock; /* of what stands below */
    struct counts older, newer;
    uint64_t older_us, newer_us;
} kept = { .lock = PTHREAD_MUTEX_INITIALIZER };

void averages_write_down(const struct counts *c, uint64_t now_us)
{
    pthread_mutex_lock(&kept.lock);
    counts_free(&kept.older);
    kept.older = kept.newer;
    kept.older_us = kept.newer_us;
    kept.newer = (struct counts){ 0 };
    counts_add(&kept.newer, c);
    kept.newer_us = now_us;
    pthread_mutex_unlock(&kept.lock);
}

static void on_counts(void *context, const struct snapshot *s)
{
    (void)context;
    kept.question = NULL;
    averages_write_down(&s->counts, s->now_us);
}

static void on_period(void *context)
{
    (void)context;
    if (kept.question == NULL)
        kept.question = snapshot_ask(kept.loop, SNAPSHOT_COUNTS, on_counts, NULL);
    timer_start(kept.timer, PERIOD_US);
}

static void begin(struct loop *l)
{
    kept.loop = l;
    kept.timer = timer_new(l, on_period, NULL);
    kept.older_us = kept.newer_us = loop_now_us(l);
    timer_start(kept.timer, PERIOD_US);
}

static void end(void)
{
    timer_free(kept.timer);
    snapshot_forget(kept.question);
    kept.timer = NULL;
    kept.question = NULL;
    pthread_mutex_lock(&kept.lock);
    counts_free(&kept.older);
    counts_free(&kept.newer);
    pthread_mutex_unlock(&kept.lock);
}

void averages_keep(struct loop *l, bool on)
{
    if (on && kept.timer == NULL)
        begin(l);
    else if (!on && kept.timer != NULL)
        end();
}

/* What had been counted then; zeros: nothing. Called under the lock. */
static const struct database_counts *find_older(const char *database)
{
    static const struct database_counts none;
    for (size_t i = 0; i < kept.older.database_count; i++)
        if (strcmp(kept.older.databases[i].name, database) == 0)
            return &kept.older.databases[i];
    return &none;
}

/* Per `many`; nothing when there were none, or when what is counted has gone back. */
static uint64_t since(uint64_t now, uint64_t then, uint64_t unit, uint64_t many)
{
    return many > 0 && now > then ? (uint64_t)((double)(now - then) * (double)unit / (double)many) : 0;
}

void averages_read(const struct database_counts *now, uint64_t now_us, struct database_rates *out)
{
    pthread_mutex_lock(&kept.lock);
    const struct database_counts *then = find_older(now->name);
    uint64_t passed_us = now_us > kept.older_us ? now_us - kept.older_us : 0;
    uint64_t transactions = since(now->transactions, then->transactions, 1, 1);
    uint64_t queries = since(now->queries, then->queries, 1, 1);
    *out = (struct database_rates){
        .transactions = since(now->transactions, then->transactions, SECOND_US, passed_us),
        .queries = since(now->queries, then->queries, SECOND_US, passed_us),
        .received = since(now->received, then->received, SECOND_US, passed_us),
        .sent = since(now->sent, then->sent, SECOND_US, passed_us),
        .transaction_us = since(now->transaction_us, then->transaction_us, 1, transactions),
        .query_us = since(now->query_us, then->query_us, 1, queries),
        .wait_us = since(now->wait_us, then->wait_us, SECOND_US, passed_us),
    };
    pthread_mutex_unlock(&kept.lock);
}
