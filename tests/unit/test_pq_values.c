/* Parameters in PostgreSQL's binary format, byte for byte. */
#include <criterion/criterion.h>

#include "proxy/events/pq_values.h"

static struct pq_values values;

static void tear_down(void)
{
    pq_values_free(&values);
}

TestSuite(pq_values, .fini = tear_down);

static void expect(int index, Oid type, const char *bytes, size_t size)
{
    cr_assert_gt(values.count, index);
    cr_expect_eq(values.types[index], type);
    cr_expect(span_equal(buffer_span(&values.values[index]), span_make(bytes, size)), "value %d is not as it should be",
              index);
}

#define EXPECT(index, type, bytes) expect(index, type, bytes, sizeof bytes - 1)

Test(pq_values, E8_scalars_are_what_postgresql_would_send)
{
    pq_values_add_text(&values, span_of("a'b"));
    pq_values_add_int(&values, -2);
    pq_values_add_int(&values, INT64_C(0x0102030405060708));
    EXPECT(0, PQ_TEXT, "a'b");
    EXPECT(1, PQ_INT8, "\xff\xff\xff\xff\xff\xff\xff\xfe");
    EXPECT(2, PQ_INT8, "\1\2\3\4\5\6\7\10");
}

Test(pq_values, E8_an_array_counts_its_elements)
{
    pq_values_begin_array(&values, PQ_TEXT);
    pq_values_begin_array(&values, PQ_TEXT);
    pq_values_add_element(&values, span_of("x"));
    pq_values_add_element(&values, span_of(""));
    pq_values_begin_array(&values, PQ_INT4);
    pq_values_add_int_element(&values, 7);
    EXPECT(0, PQ_TEXT_ARRAY,
           "\0\0\0\1"
           "\0\0\0\0"
           "\0\0\0\31"
           "\0\0\0\0"
           "\0\0\0\1");
    EXPECT(1, PQ_TEXT_ARRAY,
           "\0\0\0\1"
           "\0\0\0\0"
           "\0\0\0\31"
           "\0\0\0\2"
           "\0\0\0\1"
           "\0\0\0\1x"
           "\0\0\0\0");
    EXPECT(2, PQ_INT4_ARRAY,
           "\0\0\0\1"
           "\0\0\0\0"
           "\0\0\0\27"
           "\0\0\0\1"
           "\0\0\0\1"
           "\0\0\0\4\0\0\0\7");
}
