#include <criterion/criterion.h>

#include "protocol/wire.h"
#include "tests/unit/bytes.h"

/* One of everything. */
static const struct span sample = BYTES_INIT("\x7f"
                                             "\x81\x02"
                                             "\x83\x04\x05\x06"
                                             "\xff\xff\xff\xfe"
                                             "text\0"
                                             "\0"
                                             "\x0a\x0b\x0c"
                                             "\x01\x02\x03\x04"
                                             "rest");

struct fields {
    uint8_t u8;
    uint16_t u16;
    uint32_t u32;
    int32_t i32;
    struct span text, empty, bytes, items, rest;
};

static struct fields read_sample(struct wire *w)
{
    struct fields f;
    f.u8 = wire_u8(w);
    f.u16 = wire_u16(w);
    f.u32 = wire_u32(w);
    f.i32 = wire_i32(w);
    f.text = wire_string(w);
    f.empty = wire_string(w);
    f.bytes = wire_bytes(w, 3);
    f.items = wire_items(w, 2, 2);
    f.rest = wire_rest(w);
    return f;
}

Test(wire, reads_what_the_bytes_say)
{
    struct wire w = wire_open(sample);
    struct fields f = read_sample(&w);
    cr_assert(wire_done(&w));
    cr_assert_eq(f.u8, 0x7f);
    cr_assert_eq(f.u16, 0x8102);
    cr_assert_eq(f.u32, 0x83040506);
    cr_assert_eq(f.i32, -2);
    cr_assert(span_is(f.text, "text"));
    cr_assert_eq(f.empty.size, 0);
    cr_assert(span_equal(f.bytes, BYTES("\x0a\x0b\x0c")));
    cr_assert(span_equal(f.items, BYTES("\x01\x02\x03\x04")));
    cr_assert(span_is(f.rest, "rest"));
}

Test(wire, a_cut_at_any_offset_fails_and_reads_nothing_past_it)
{
    for (size_t size = 0; size < sample.size; size++) {
        struct span cut = bytes_exact(span_make(sample.data, size));
        struct wire w = wire_open(cut);
        struct fields f = read_sample(&w);
        if (size < sample.size - 4) { /* else it is only the rest that is shorter */
            cr_assert(w.failed, "cut at %zu", size);
            cr_assert_not(wire_done(&w), "cut at %zu", size);
            cr_assert_eq(f.rest.size, 0);
        } else {
            cr_assert(wire_done(&w), "cut at %zu", size);
            cr_assert_eq(f.rest.size, size - (sample.size - 4));
        }
        bytes_free(cut);
    }
}

Test(wire, the_first_failure_sticks)
{
    struct wire w = wire_open(BYTES("\x01\x02\x03"));
    cr_assert_eq(wire_u32(&w), 0);
    cr_assert(w.failed);
    cr_assert_eq(wire_u8(&w), 0, "the bytes that the failed read did not take are out of reach");
    cr_assert_eq(wire_u16(&w), 0);
    cr_assert_eq(wire_i32(&w), 0);
    cr_assert_eq(wire_string(&w).size, 0);
    cr_assert_eq(wire_bytes(&w, 0).size, 0);
    cr_assert_eq(wire_rest(&w).size, 0);
    cr_assert_eq(wire_left(&w), 0);
    cr_assert_not(wire_done(&w));
}

Test(wire, a_string_needs_its_nul)
{
    struct span text = bytes_exact(span_of("no end"));
    struct wire w = wire_open(text);
    cr_assert_eq(wire_string(&w).size, 0);
    cr_assert(w.failed);
    bytes_free(text);
}

Test(wire, no_length_is_too_large_to_be_refused)
{
    static const struct {
        size_t count, item_size;
    } rows[] = {
        { SIZE_MAX, 1 }, { SIZE_MAX, 2 }, { SIZE_MAX / 2 + 1, 2 }, { SIZE_MAX / 4 + 1, 4 }, { 5, 1 },
        { 1, SIZE_MAX }, { 3, 2 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct wire w = wire_open(span_of("four"));
        cr_assert_eq(wire_items(&w, rows[i].count, rows[i].item_size).size, 0);
        cr_assert(w.failed, "row %zu", i);

        w = wire_open(span_of("four"));
        wire_u8(&w);
        cr_assert_eq(wire_bytes(&w, rows[i].count * rows[i].item_size | 4).size, 0);
        cr_assert(w.failed, "row %zu", i);
    }
}

Test(wire, what_is_left_over_is_not_done)
{
    struct wire w = wire_open(span_of("ab"));
    cr_assert_eq(wire_left(&w), 2);
    wire_u8(&w);
    cr_assert_eq(wire_left(&w), 1);
    cr_assert_not(wire_done(&w));
    wire_u8(&w);
    cr_assert(wire_done(&w));
}

Test(wire, an_empty_body_may_be_no_memory_at_all)
{
    struct wire w = wire_open((struct span){ 0 });
    cr_assert(wire_done(&w));
    cr_assert_eq(wire_rest(&w).size, 0);
    cr_assert_eq(wire_items(&w, 0, 4).size, 0);
    cr_assert(wire_done(&w));
    cr_assert_eq(wire_string(&w).size, 0);
    cr_assert(w.failed);
}

Test(wire, get_gives_back_what_put_has_written)
{
    static const uint32_t values[] = { 0, 1, 0x7f, 0x80, 0xff00, 0x12345678, 0x7fffffff, 0x80000000, 0xffffffff };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char bytes[4];
        wire_put_u32(bytes, values[i]);
        cr_assert_eq(wire_get_u32(bytes), values[i]);
        wire_put_u16(bytes, (uint16_t)values[i]);
        cr_assert_eq(wire_get_u16(bytes), (uint16_t)values[i]);
    }
}
