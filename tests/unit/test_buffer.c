#include <criterion/criterion.h>
#include <signal.h>

#include "protocol/buffer.h"
#include "tests/unit/bytes.h"

Test(buffer, zeroed_is_empty)
{
    struct buffer b = { 0 };
    cr_assert_eq(buffer_span(&b).size, 0);
    buffer_consume(&b, 0);
    buffer_append(&b, NULL, 0);
    buffer_append_span(&b, (struct span){ 0 });
    cr_assert_eq(b.size, 0);
    cr_assert_null(b.data, "nothing was stored, so no memory is held");
    buffer_free(&b);
}

Test(buffer, keeps_what_was_appended_through_every_growth)
{
    struct buffer b = { 0 };
    for (unsigned i = 0; i < 100000; i++)
        buffer_append_u32(&b, i);
    cr_assert_eq(b.size, 400000);
    for (unsigned i = 0; i < 100000; i++) {
        const unsigned char *p = (const unsigned char *)b.data + (size_t)i * 4;
        cr_assert_eq((unsigned)p[0] << 24 | (unsigned)p[1] << 16 | (unsigned)p[2] << 8 | p[3], i);
    }
    buffer_free(&b);
    cr_assert_null(b.data);
    cr_assert_eq(b.capacity, 0);
}

Test(buffer, integers_are_in_network_byte_order)
{
    struct buffer b = { 0 };
    buffer_append_u8(&b, 0x01);
    buffer_append_u16(&b, 0x0203);
    buffer_append_u32(&b, 0x84050607);
    cr_assert(span_equal(buffer_span(&b), BYTES("\x01\x02\x03\x84\x05\x06\x07")));
    buffer_free(&b);
}

Test(buffer, a_string_ends_with_the_only_nul_in_it)
{
    struct buffer b = { 0 };
    buffer_append_string(&b, span_of("ab"));
    buffer_append_string(&b, (struct span){ 0 });
    buffer_append_string(&b, BYTES("c\0d"));
    buffer_append_text(&b, "e");
    cr_assert(span_equal(buffer_span(&b), BYTES("ab\0\0c\0e")));
    buffer_free(&b);
}

Test(buffer, format_appends_without_a_nul)
{
    struct buffer b = { 0 };
    for (int i = 0; i < 1000; i++)
        buffer_format(&b, "%03d;", i);
    cr_assert_eq(b.size, 4000);
    cr_assert(span_equal(span_make(b.data, 8), span_of("000;001;")));
    cr_assert(span_equal(span_make(b.data + 3992, 8), span_of("998;999;")));
    buffer_format(&b, "%s", "");
    cr_assert_eq(b.size, 4000);
    buffer_free(&b);
}

Test(buffer, consume_drops_the_front)
{
    struct buffer b = { 0 };
    buffer_append_text(&b, "abcdef");
    buffer_consume(&b, 2);
    cr_assert(span_is(buffer_span(&b), "cdef"));
    buffer_consume(&b, 0);
    cr_assert(span_is(buffer_span(&b), "cdef"));
    buffer_append_text(&b, "g");
    buffer_consume(&b, 5);
    cr_assert_eq(b.size, 0);
    buffer_free(&b);
}

Test(buffer, clear_keeps_the_memory)
{
    struct buffer b = { 0 };
    buffer_append_text(&b, "abc");
    char *before = b.data;
    buffer_clear(&b);
    cr_assert_eq(buffer_reserve(&b, 3), before);
    cr_assert_eq(b.size, 0);
    buffer_free(&b);
}

Test(buffer, reserved_room_can_be_written_to_its_end)
{
    struct buffer b = { 0 };
    for (size_t size = 0; size < 2000; size += 7) {
        memset(buffer_reserve(&b, size), 'x', size);
        b.size += size;
    }
    for (size_t i = 0; i < b.size; i++)
        cr_assert_eq(b.data[i], 'x');
    buffer_free(&b);
}

Test(buffer, consuming_more_than_there_is_is_our_own_mistake, .signal = SIGABRT)
{
    struct buffer b = { 0 };
    buffer_append_text(&b, "abc");
    buffer_consume(&b, 4);
}

Test(buffer, a_size_that_no_object_has_aborts, .signal = SIGABRT)
{
    struct buffer b = { 0 };
    buffer_append_u8(&b, 1);
    buffer_reserve(&b, SIZE_MAX);
}
