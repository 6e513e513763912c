#include "proxy/session/settings.h"

#include <stdlib.h>

#include "protocol/memory.h"

static void drop(struct settings *s, size_t i)
{
    free(s->list[i].name);
    free(s->list[i].sql);
    s->count--;
    memmove(&s->list[i], &s->list[i + 1], (s->count - i) * sizeof *s->list);
}

/* The older ones for the name of the last, made at its depth or deeper; of fresh ones only. */
static void drop_replaced(struct settings *s, size_t last, bool fresh_only)
{
    const struct setting *newest = &s->list[last];
    if (newest->name[0] == '\0')
        return;
    for (size_t i = last; i > 0; i--) {
        const struct setting *older = &s->list[i - 1];
        if (older->depth >= newest->depth && (older->fresh || !fresh_only) && strcmp(older->name, newest->name) == 0) {
            drop(s, i - 1);
            newest = &s->list[--last];
        }
    }
}

void settings_remember(struct settings *s, struct span name, struct span sql, size_t depth)
{
    s->list = memory_grow(s->list, &s->capacity, s->count, sizeof *s->list);
    s->list[s->count++] = (struct setting){ memory_copy_span(name), memory_copy_span(sql), depth, true };
    drop_replaced(s, s->count - 1, true);
}

void settings_end_unit(struct settings *s, bool failed)
{
    for (size_t i = s->count; i-- > 0;) {
        if (i >= s->count || !s->list[i].fresh)
            continue;
        if (failed) {
            drop(s, i);
        } else {
            s->list[i].fresh = false;
            drop_replaced(s, i, false);
        }
    }
}

void settings_release(struct settings *s, size_t depth)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->list[i].depth > depth)
            s->list[i].depth = depth;
}

void settings_rollback_to(struct settings *s, size_t depth)
{
    for (size_t i = s->count; i > 0; i--)
        if (s->list[i - 1].depth >= depth)
            drop(s, i - 1);
}

void settings_forget(struct settings *s)
{
    while (s->count > 0)
        drop(s, s->count - 1);
}

void settings_free(struct settings *s)
{
    settings_forget(s);
    free(s->list);
    *s = (struct settings){ 0 };
}

void settings_append(const struct settings *s, struct buffer *out)
{
    for (size_t i = 0; i < s->count; i++) {
        buffer_append_text(out, s->list[i].sql);
        buffer_append_text(out, "\n;");
    }
}
