#include "proxy/session/plan.h"

#include <stdlib.h>

#include "protocol/memory.h"

void plan_reset(struct plan *p)
{
    buffer_clear(&p->bytes);
    buffer_clear(&p->text);
    p->step_count = p->at = 0;
    p->segment_count = 0;
    p->prefix = 0;
    p->open_ended = p->controls = p->out = p->replays = false;
    if (p->savepoints.mark_capacity > 0)
        txn_free(&p->savepoints);
    p->replayed = 0;
}

bool plan_is_large(const struct plan *p)
{
    return p->bytes.capacity > 4096 || p->text.capacity > 4096 || p->step_capacity > 16 || p->segment_capacity > 16;
}

void plan_free(struct plan *p)
{
    buffer_free(&p->bytes);
    buffer_free(&p->text);
    free(p->steps);
    free(p->segments);
    txn_free(&p->savepoints);
    free(p);
}

struct step *plan_add(struct plan *p, enum step_kind kind)
{
    p->steps = memory_grow(p->steps, &p->step_capacity, p->step_count, sizeof *p->steps);
    struct step *step = &p->steps[p->step_count++];
    *step = (struct step){ .kind = kind };
    return step;
}

struct range plan_keep(struct plan *p, struct span s)
{
    struct range r = { p->bytes.size, s.size };
    buffer_append_span(&p->bytes, s);
    return r;
}

/* Separates what follows from a last statement that came without its semicolon, or within a line comment. */
static void close_statement(struct plan *p)
{
    if (p->open_ended)
        buffer_append_text(&p->text, "\n;");
    p->open_ended = false;
}

void plan_append_client(struct plan *p, struct span slice, size_t client_characters)
{
    close_statement(p);
    p->segments = memory_grow(p->segments, &p->segment_capacity, p->segment_count, sizeof *p->segments);
    p->segments[p->segment_count++] = (struct segment){ p->text.size, slice.size, client_characters };
    buffer_append_span(&p->text, slice);
    p->open_ended = true;
}

void plan_append_ours(struct plan *p, struct span sql)
{
    close_statement(p);
    buffer_append_span(&p->text, sql);
    buffer_append_u8(&p->text, ';');
}

static size_t byte_of_character(struct span text, const struct encoding *encoding, size_t characters)
{
    size_t at = 0;
    while (characters-- > 0 && at < text.size)
        at += encoding_character_size(encoding, span_make(text.data + at, text.size - at));
    return at;
}

size_t plan_client_position(const struct plan *p, const struct encoding *encoding, size_t position)
{
    if (position == 0)
        return 0;
    if (p->text.size == 0)
        return position > p->prefix ? position - p->prefix : 0;

    size_t at = byte_of_character(buffer_span(&p->text), encoding, position - 1);
    for (size_t i = 0; i < p->segment_count; i++) {
        const struct segment *seg = &p->segments[i];
        if (at >= seg->server_at && at <= seg->server_at + seg->size) {
            struct span before = span_make(p->text.data + seg->server_at, at - seg->server_at);
            return seg->client_characters + encoding_count(encoding, before) + 1;
        }
    }
    return 0;
}
