#include "proxy/session/settings.h"

#include <stdlib.h>

static char *copy_of(struct span s)
{
    char *copy = strndup(s.size ? s.data : "", s.size);
    if (!copy)
        abort();
    return copy;
}

static void drop(struct settings *s, size_t i)
{
    free(s->list[i].name);
    free(s->list[i].sql);
    s->count--;
    memmove(&s->list[i], &s->list[i + 1], (s->count - i) * sizeof *s->list);
}

void settings_remember(struct settings *s, struct span name, struct span sql)
{
    for (size_t i = s->count; i > 0; i--)
        if (name.size > 0 && span_is(name, s->list[i - 1].name))
            drop(s, i - 1);

    if (s->count == s->capacity) {
        s->capacity = s->capacity ? s->capacity * 2 : 4;
        s->list = realloc(s->list, s->capacity * sizeof *s->list);
        if (!s->list)
            abort();
    }
    s->list[s->count++] = (struct setting){ copy_of(name), copy_of(sql) };
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
