/* A list for the process, under one lock: it is looked at when a connection to a server begins. There are as many sources as databases
 * that differ in how TLS is spoken with them, and as many names as their hosts have, over all reloads. */
#include "proxy/net/tls_source.h"

#include <pthread.h>

#include "protocol/memory.h"

struct name {
    struct name *next;
    char text[];
};

struct tls_source {
    struct tls_source *next;
    struct tls_options options;  /* with strings of its own */
    struct tls_context *context; /* NULL: not read yet */
    struct name *names;
};

static struct {
    pthread_mutex_t lock;
    struct tls_source *first;
} all = { .lock = PTHREAD_MUTEX_INITIALIZER };

static bool is_same(const struct tls_options *a, const struct tls_options *b)
{
    return a->mode == b->mode && strcmp(a->certificate, b->certificate) == 0 && strcmp(a->key, b->key) == 0 &&
           strcmp(a->ca, b->ca) == 0;
}

static struct tls_source *source_new(const struct tls_options *o)
{
    struct tls_source *s = or_abort(calloc(1, sizeof *s));
    s->options = (struct tls_options){ .mode = o->mode,
                                       .certificate = memory_copy_text(o->certificate),
                                       .key = memory_copy_text(o->key),
                                       .ca = memory_copy_text(o->ca) };
    s->next = all.first;
    all.first = s;
    return s;
}

struct tls_source *tls_source_find(const struct tls_options *o)
{
    pthread_mutex_lock(&all.lock);
    struct tls_source *s = all.first;
    while (s != NULL && !is_same(&s->options, o))
        s = s->next;
    if (s == NULL)
        s = source_new(o);
    pthread_mutex_unlock(&all.lock);
    return s;
}

static struct name *add_name(struct tls_source *s, const char *text)
{
    size_t size = strlen(text) + 1;
    struct name *name = or_abort(malloc(sizeof *name + size));
    memcpy(name->text, text, size);
    name->next = s->names;
    s->names = name;
    return name;
}

const char *tls_source_keep_name(struct tls_source *s, const char *name)
{
    pthread_mutex_lock(&all.lock);
    struct name *kept = s->names;
    while (kept != NULL && strcmp(kept->text, name) != 0)
        kept = kept->next;
    if (kept == NULL)
        kept = add_name(s, name);
    pthread_mutex_unlock(&all.lock);
    return kept->text;
}

enum tls_mode tls_source_mode(const struct tls_source *s)
{
    return s->options.mode;
}

bool tls_source_read(struct tls_source *s, char error[TLS_ERROR_SIZE])
{
    struct tls_context *fresh = tls_context_for_client(&s->options, error);
    if (fresh == NULL)
        return false;
    pthread_mutex_lock(&all.lock);
    struct tls_context *old = s->context;
    s->context = fresh;
    pthread_mutex_unlock(&all.lock);
    tls_context_release(old);
    return true;
}

static struct tls_context *current_of(struct tls_source *s)
{
    pthread_mutex_lock(&all.lock);
    struct tls_context *x = s->context != NULL ? tls_context_retain(s->context) : NULL;
    pthread_mutex_unlock(&all.lock);
    return x;
}

struct tls_context *tls_source_context(struct tls_source *s, char error[TLS_ERROR_SIZE])
{
    struct tls_context *x = current_of(s);
    if (x == NULL && tls_source_read(s, error))
        x = current_of(s);
    return x;
}
