/* Does protocol/encoding agree with PostgreSQL? Reads what agree.sql prints; one test an encoding, with its first disagreements.
 *
 * Whatever PostgreSQL takes for text has to be counted as PostgreSQL counts it. What both can convert has to come out the same;
 * whether both can is left open, for iconv and PostgreSQL are given new characters by different people. Where PostgreSQL's
 * tables are of another edition than iconv's, only most characters are the same. */
#include <stdio.h>
#include <stdlib.h>

#include "protocol/encoding.h"

enum { SHOWN = 5, BYTES_MAX = 64 };

/* Another edition of the standard, or a vendor's: a few symbols, or private ones, differ. */
static const char *const other_editions[] = { "BIG5", "EUC_JIS_2004", "GB18030", "SHIFT_JIS_2004" };

struct tally {
    char encoding[64];
    unsigned long texts, miscounted, converted, different;
};

static unsigned passed, failed;

static struct span from_hex(const char *hex, char bytes[BYTES_MAX])
{
    size_t size = 0;
    unsigned byte;
    while (size < BYTES_MAX && sscanf(hex + 2 * size, "%2x", &byte) == 1)
        bytes[size++] = (char)byte;
    return span_make(bytes, size);
}

static bool is_other_edition(const char *encoding)
{
    for (size_t i = 0; i < sizeof other_editions / sizeof *other_editions; i++)
        if (strcmp(encoding, other_editions[i]) == 0)
            return true;
    return false;
}

static void finish(struct tally *t)
{
    unsigned long tolerated = is_other_edition(t->encoding) ? t->converted / 10 : 0;
    if (t->texts == 0)
        return;
    bool ok = t->miscounted == 0 && t->different <= tolerated;
    printf("%-15s %6lu texts, %lu counted otherwise, %6lu converted, %lu otherwise%s\n", t->encoding, t->texts,
           t->miscounted, t->converted, t->different, ok ? "" : ": FAILED");
    passed += ok;
    failed += !ok;
}

static void compare(struct tally *t, const char *hex, long count, const char *utf8_hex)
{
    char bytes[BYTES_MAX], utf8_bytes[BYTES_MAX];
    struct span text = from_hex(hex, bytes);
    const struct encoding *e = encoding_find(span_of(t->encoding));
    if (count >= 0) {
        size_t ours = encoding_count(e, text);
        t->texts++;
        if (ours != (size_t)count && t->miscounted++ < SHOWN)
            printf("%s %s: %zu characters, not %ld\n", t->encoding, hex, ours, count);
    }
    struct buffer ours = { 0 };
    if (*utf8_hex != '-' && encoding_to_utf8(e, text, &ours)) {
        t->converted++;
        if (!span_equal(buffer_span(&ours), from_hex(utf8_hex, utf8_bytes)) && t->different++ < SHOWN)
            printf("%s %s: %.*s, not %s\n", t->encoding, hex, (int)ours.size, ours.data, utf8_hex);
    }
    buffer_free(&ours);
}

int main(void)
{
    char line[512], encoding[64], hex[2 * BYTES_MAX + 1], utf8_hex[2 * BYTES_MAX + 1];
    struct tally t = { 0 };
    long count;
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "%63[^|]|%128[^|]|%ld|%128s", encoding, hex, &count, utf8_hex) != 4)
            continue;
        if (strcmp(encoding, t.encoding) != 0) {
            finish(&t);
            t = (struct tally){ 0 };
            strcpy(t.encoding, encoding);
        }
        compare(&t, hex, count, utf8_hex);
    }
    finish(&t);
    printf("%u passed, %u failed\n", passed, failed);
    return failed == 0 && passed > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
