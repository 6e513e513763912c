/* PostgreSQL's binary formats of what pgatomic asks with.
 *
 * An array of one dimension is: dimensions, whether there are NULLs, the elements' type, how many, the first one's index; then each element
 * with its length ahead. The number of elements is put right with each that is added. */
#include "proxy/events/pq_values.h"

#include <assert.h>

#include "protocol/wire.h"

enum { ARRAY_COUNT_OFFSET = 12 };

static struct buffer *add(struct pq_values *v, Oid type)
{
    assert(v->count < PQ_VALUES_MAX);
    v->types[v->count] = type;
    return &v->values[v->count++];
}

void pq_values_add_text(struct pq_values *v, struct span text)
{
    buffer_append_span(add(v, PQ_TEXT), text);
}

void pq_values_add_int(struct pq_values *v, int64_t number)
{
    struct buffer *b = add(v, PQ_INT8);
    buffer_append_u32(b, (uint32_t)((uint64_t)number >> 32));
    buffer_append_u32(b, (uint32_t)number);
}

static Oid array_of(Oid element)
{
    switch (element) {
    case PQ_INT4:
        return PQ_INT4_ARRAY;
    case PQ_UUID:
        return PQ_UUID_ARRAY;
    default:
        assert(element == PQ_TEXT);
        return PQ_TEXT_ARRAY;
    }
}

void pq_values_begin_array(struct pq_values *v, Oid type)
{
    struct buffer *b = add(v, array_of(type));
    buffer_append_u32(b, 1);
    buffer_append_u32(b, 0);
    buffer_append_u32(b, type);
    buffer_append_u32(b, 0);
    buffer_append_u32(b, 1);
}

void pq_values_add_element(struct pq_values *v, struct span element)
{
    struct buffer *b = &v->values[v->count - 1];
    char *count = b->data + ARRAY_COUNT_OFFSET;
    wire_put_u32(count, wire_get_u32(count) + 1);
    buffer_append_u32(b, (uint32_t)element.size);
    buffer_append_span(b, element);
}

void pq_values_add_int_element(struct pq_values *v, int32_t number)
{
    char bytes[4];
    wire_put_u32(bytes, (uint32_t)number);
    pq_values_add_element(v, span_make(bytes, sizeof bytes));
}

void pq_values_free(struct pq_values *v)
{
    for (int i = 0; i < v->count; i++)
        buffer_free(&v->values[i]);
    v->count = 0;
}
