/* One transaction at a time.
 *
 *     send ──► gathered ──flush──► sent: MULTI, a command each, EXEC ──replies──► delivery_done()
 *                  ▲                 │
 *                  └── sent again ───┘ the others of a transaction that one command spoilt
 *
 * Why MULTI: commands that are merely sent together fail one by one. When Redis is out of memory for the third of five and not for the
 * fourth, the order is lost. In a transaction what Redis refuses is refused before any of it is done.
 *
 * Why one at a time: a transaction that is on its way behind one that failed would overtake it. While one is away all that comes is
 * gathered, so a slow Redis gets larger transactions, not a longer queue.
 *
 * A command that Redis refuses when it is queued (no permission for this key) spoils the transaction for the others, which have done nothing
 * wrong: they are sent again at once, without it and without what stands behind it on its channel (E5). A command that fails as
 * it is executed (a key of another type) fails alone; what follows on its channel goes to the same key, and has failed with it.
 *
 * Where MULTI itself is refused (an account without the permission for it), the commands have run on their own: each answers for itself. */
#include "proxy/events/redis_publisher.h"

#include "protocol/buffer.h"
#include "protocol/memory.h"
#include "proxy/events/redis_connection.h"

enum { TRANSACTION_SIZE = 4 << 20 /* bytes, unless one command has more */ };

struct item {
    struct item *next;
    struct delivery *delivery;
    struct buffer command;
    char *reason; /* of its failure; NULL: none so far */
};

struct items {
    struct item *first, **last;
};

struct redis_publisher {
    struct redis_connection *connection;
    struct items gathered, sent;
    size_t sent_count;
    char *spoilt;   /* why the transaction as a whole was refused; NULL: it was not */
    bool is_untied; /* there was no transaction */
};

/* --- items ---------------------------------------------------------------------------------------- */

static void items_init(struct items *list)
{
    list->first = NULL;
    list->last = &list->first;
}

static void items_add(struct items *list, struct item *i)
{
    i->next = NULL;
    *list->last = i;
    list->last = &i->next;
}

static struct item *items_take(struct items *list)
{
    struct item *i = list->first;
    if (i == NULL)
        return NULL;
    list->first = i->next;
    if (list->first == NULL)
        list->last = &list->first;
    return i;
}

static void items_move(struct items *from, struct items *to)
{
    for (struct item *i; (i = items_take(from)) != NULL;)
        items_add(to, i);
}

static void item_free(struct item *i)
{
    buffer_free(&i->command);
    free(i->reason);
    free(i);
}

static void items_free(struct items *list)
{
    for (struct item *i; (i = items_take(list)) != NULL;)
        item_free(i);
}

/* The first one stays. */
static void set_reason(char **reason, struct span text)
{
    if (*reason == NULL)
        *reason = memory_copy_span(text);
}

static bool is_same_channel(const struct item *a, const struct item *b)
{
    return strcmp(a->delivery->event->name, b->delivery->event->name) == 0;
}

/* What stands behind a failed one on its channel fails with it. */
static void fail_those_behind(const struct item *failed, struct item *behind)
{
    for (struct item *i = behind; i != NULL; i = i->next)
        if (i->reason == NULL && is_same_channel(failed, i))
            set_reason(&i->reason, span_of(failed->reason));
}

/* --- results -------------------------------------------------------------------------------------- */

static void give_back(struct item *i)
{
    delivery_done(i->delivery, i->reason != NULL ? DELIVERY_FAILED : DELIVERED, i->reason, 0);
    item_free(i);
}

/* The list is taken off first, for the dispatcher may hand over more as it is told. */
static void give_back_all(struct items *list)
{
    struct items done;
    items_init(&done);
    items_move(list, &done);
    for (struct item *i; (i = items_take(&done)) != NULL;)
        give_back(i);
}

static void give_back_failed(struct items *list)
{
    struct items kept, failed;
    items_init(&kept);
    items_init(&failed);
    for (struct item *i; (i = items_take(list)) != NULL;)
        items_add(i->reason != NULL ? &failed : &kept, i);
    items_move(&kept, list);
    give_back_all(&failed);
}

/* --- sending -------------------------------------------------------------------------------------- */

static void append_word(struct buffer *b, const char *word)
{
    struct span words[] = { span_of(word) };
    (void)redis_append_command(b, words, 1);
}

/* Fills `sent` from `gathered`. */
static void choose(struct redis_publisher *p)
{
    size_t size = 0;
    p->sent_count = 0;
    while (p->gathered.first != NULL &&
           (p->sent_count == 0 || size + p->gathered.first->command.size <= TRANSACTION_SIZE)) {
        struct item *i = items_take(&p->gathered);
        size += i->command.size;
        items_add(&p->sent, i);
        p->sent_count++;
    }
}

static void send_next(struct redis_publisher *p)
{
    if (p->sent.first != NULL || p->gathered.first == NULL)
        return;
    choose(p);
    struct buffer commands = { 0 };
    bool alone = p->sent_count == 1;
    if (!alone)
        append_word(&commands, "MULTI");
    for (const struct item *i = p->sent.first; i != NULL; i = i->next)
        buffer_append_span(&commands, buffer_span(&i->command));
    if (!alone)
        append_word(&commands, "EXEC");
    redis_connection_send(p->connection, buffer_span(&commands), alone ? 1 : p->sent_count + 2);
    buffer_free(&commands);
}

/* --- replies -------------------------------------------------------------------------------------- */

static struct item *sent_at(struct redis_publisher *p, size_t at)
{
    struct item *i = p->sent.first;
    while (i != NULL && at-- > 0)
        i = i->next;
    return i;
}

/* Alone: the one reply is the command's. Else MULTI's is the first, and EXEC's the last, with the commands' own as its elements. */
static void on_error(void *context, size_t reply, int element, struct span text)
{
    struct redis_publisher *p = context;
    struct item *i = NULL;
    if (p->sent_count == 1)
        i = p->sent.first;
    else if (reply == 0)
        p->is_untied = true;
    else if (reply <= p->sent_count)
        i = sent_at(p, reply - 1);
    else if (element != REDIS_WHOLE_REPLY)
        i = sent_at(p, (size_t)element);
    set_reason(i != NULL ? &i->reason : &p->spoilt, text);
}

static bool any_failed(const struct items *list)
{
    for (const struct item *i = list->first; i != NULL; i = i->next)
        if (i->reason != NULL)
            return true;
    return false;
}

static void fail_all(struct items *list, const char *reason)
{
    for (struct item *i = list->first; i != NULL; i = i->next)
        set_reason(&i->reason, span_of(reason));
}

/* Nothing was done. Whoever is to blame fails, with what is behind it; the others go again, ahead of what has been gathered meanwhile. */
static void settle_spoilt(struct redis_publisher *p)
{
    if (!any_failed(&p->sent))
        fail_all(&p->sent, p->spoilt);
    items_move(&p->gathered, &p->sent);
    items_move(&p->sent, &p->gathered);
    for (struct item *i = p->gathered.first; i != NULL; i = i->next)
        if (i->reason != NULL)
            fail_those_behind(i, i->next);
}

static void settle_done(struct redis_publisher *p)
{
    for (struct item *i = p->sent.first; i != NULL; i = i->next)
        if (i->reason != NULL)
            fail_those_behind(i, p->gathered.first);
    give_back_all(&p->sent);
}

static void forget_answers(struct redis_publisher *p)
{
    free(p->spoilt);
    p->spoilt = NULL;
    p->is_untied = false;
}

static void on_done(void *context, size_t elements)
{
    struct redis_publisher *p = context;
    if (p->spoilt == NULL && p->sent_count > 1 && elements != p->sent_count)
        set_reason(&p->spoilt, span_of("the server did not answer every command of a transaction"));
    if (p->spoilt != NULL && !p->is_untied)
        settle_spoilt(p);
    else
        settle_done(p);
    forget_answers(p);
    give_back_failed(&p->gathered);
    send_next(p);
}

/* Some of it may have been done: that is what at-least-once means. */
static void on_lost(void *context, const char *reason)
{
    struct redis_publisher *p = context;
    forget_answers(p);
    items_move(&p->gathered, &p->sent);
    for (struct item *i = p->sent.first; i != NULL; i = i->next) {
        free(i->reason);
        i->reason = memory_copy_text(reason);
    }
    give_back_all(&p->sent);
}

/* --- the sink's side ------------------------------------------------------------------------------ */

struct redis_publisher *redis_publisher_new(const struct sink *config, const struct sink_host *host)
{
    static const struct redis_callbacks callbacks = { on_error, on_done, on_lost };
    struct redis_publisher *p = or_abort(calloc(1, sizeof *p));
    items_init(&p->gathered);
    items_init(&p->sent);
    p->connection = redis_connection_new(config, host, &callbacks, p);
    return p;
}

void redis_publisher_send(struct redis_publisher *p, struct delivery *d, const struct span *words, size_t count)
{
    struct item *i = or_abort(calloc(1, sizeof *i));
    i->delivery = d;
    if (!redis_append_command(&i->command, words, count)) {
        item_free(i);
        delivery_done(d, DELIVERY_REFUSED, "it is larger than the 512 MB that Redis takes", 0);
        return;
    }
    items_add(&p->gathered, i);
}

void redis_publisher_flush(struct redis_publisher *p)
{
    send_next(p);
}

void redis_publisher_close(struct redis_publisher *p)
{
    redis_connection_free(p->connection);
    items_free(&p->gathered);
    items_free(&p->sent);
    forget_answers(p);
    free(p);
}
