/* Replies through hiredis' reader.
 *
 * The reader builds objects by functions of its caller's. Ours build none: they look at each piece as it passes and only tell of errors. So an
 * array that announces a billion elements costs nothing, and memory is bounded by how much of one reply may be unfinished. */
#include "proxy/events/redis_replies.h"

#include <hiredis/hiredis.h>

#include "protocol/memory.h"

enum { UNFINISHED_MAX = 1 << 20 };

/* Version 1 of hiredis counts elements in another type. */
#if HIREDIS_MAJOR >= 1
typedef size_t element_count;
#else
typedef int element_count;
#endif

struct redis_replies {
    redisReader *reader;
    redis_on_error *on_error;
    void *context;
    size_t count;
    size_t elements;
};

static struct redis_replies *replies_of(const redisReadTask *task)
{
    return task->privdata;
}

/* The place in the outermost array. */
static int element_of(const redisReadTask *task)
{
    while (task->parent != NULL && task->parent->parent != NULL)
        task = task->parent;
    return task->parent != NULL ? task->idx : REDIS_WHOLE_REPLY;
}

static void set_elements(const redisReadTask *task, size_t elements)
{
    if (task->parent == NULL)
        replies_of(task)->elements = elements;
}

/* Each returns something that is not NULL, for NULL would mean that memory has run out. */
static void *on_string(const redisReadTask *task, char *text, size_t size)
{
    struct redis_replies *r = replies_of(task);
    set_elements(task, 0);
    if (task->type == REDIS_REPLY_ERROR)
        r->on_error(r->context, r->count, element_of(task), span_make(text, size));
    return r;
}

static void *on_array(const redisReadTask *task, element_count elements)
{
    set_elements(task, (size_t)elements);
    return replies_of(task);
}

static void *on_integer(const redisReadTask *task, long long value)
{
    (void)value;
    set_elements(task, 0);
    return replies_of(task);
}

static void *on_nil(const redisReadTask *task)
{
    set_elements(task, 0);
    return replies_of(task);
}

static void on_free(void *object)
{
    (void)object;
}

static redisReplyObjectFunctions functions = {
    .createString = on_string,
    .createArray = on_array,
    .createInteger = on_integer,
    .createNil = on_nil,
    .freeObject = on_free,
};

struct redis_replies *redis_replies_new(redis_on_error *on_error, void *context)
{
    struct redis_replies *r = or_abort(malloc(sizeof *r));
    *r = (struct redis_replies){ .on_error = on_error, .context = context };
    r->reader = or_abort(redisReaderCreateWithFunctions(&functions));
    r->reader->privdata = r;
    return r;
}

void redis_replies_free(struct redis_replies *r)
{
    if (r == NULL)
        return;
    redisReaderFree(r->reader);
    free(r);
}

bool redis_replies_feed(struct redis_replies *r, struct span bytes)
{
    if (redisReaderFeed(r->reader, bytes.data, bytes.size) != REDIS_OK)
        return false;
    for (;;) {
        void *reply = NULL;
        if (redisReaderGetReply(r->reader, &reply) != REDIS_OK)
            return false;
        if (reply == NULL)
            break;
        r->count++;
    }
    return r->reader->len - r->reader->pos <= UNFINISHED_MAX;
}

size_t redis_replies_count(const struct redis_replies *r)
{
    return r->count;
}

size_t redis_replies_elements(const struct redis_replies *r)
{
    return r->elements;
}

void redis_replies_restart(struct redis_replies *r)
{
    r->count = 0;
    r->elements = 0;
}
