/* Parameters of one statement, in the binary format, arrays too.
 *
 *     struct pq_values v = { 0 };
 *     pq_values_add_text(&v, name);
 *     pq_values_begin_array(&v, PQ_UUID);
 *     for (…)
 *         pq_values_add_element(&v, id);
 *
 * Text is UTF-8, which is the client_encoding of pgatomic's own connections. */
#ifndef PROXY_EVENTS_PQ_VALUES_H
#define PROXY_EVENTS_PQ_VALUES_H

#include <postgres_ext.h>

#include "protocol/buffer.h"

enum { PQ_VALUES_MAX = 8 };
/* Types, by their numbers in pg_type. */
enum {
    PQ_INT8 = 20,
    PQ_INT4 = 23,
    PQ_TEXT = 25,
    PQ_UUID = 2950,
    PQ_INT4_ARRAY = 1007,
    PQ_TEXT_ARRAY = 1009,
    PQ_UUID_ARRAY = 2951
};

struct pq_values {
    int count;
    Oid types[PQ_VALUES_MAX];
    struct buffer values[PQ_VALUES_MAX];
};

void pq_values_add_text(struct pq_values *v, struct span text);
void pq_values_add_int(struct pq_values *v, int64_t number); /* a bigint */
/* An empty array, to which elements are added; `type` is PQ_INT4, PQ_TEXT or PQ_UUID. */
void pq_values_begin_array(struct pq_values *v, Oid type);
void pq_values_add_element(struct pq_values *v, struct span element);
void pq_values_add_int_element(struct pq_values *v, int32_t number);
void pq_values_free(struct pq_values *v);

#endif
