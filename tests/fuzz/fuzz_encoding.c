/* Text in all encodings.
 *
 * An input is the name of an encoding, a NUL, and a text. What must hold: characters fill the text exactly; ASCII-safe
 * encodings keep every ASCII byte a character of its own in text that can be converted; what comes out of a conversion is UTF-8;
 * a conversion that fails leaves nothing behind. */
#include "protocol/encoding.h"
#include "tests/fuzz/fuzz.h"

static size_t walk(const struct encoding *e, struct span text)
{
    size_t characters = 0;
    for (size_t at = 0; at < text.size; characters++) {
        size_t size = encoding_character_size(e, span_make(text.data + at, text.size - at));
        MUST(size >= 1 && size <= text.size - at);
        at += size;
    }
    return characters;
}

static void check_safe(const struct encoding *e, struct span text)
{
    for (size_t at = 0, size; at < text.size; at += size) {
        size = encoding_character_size(e, span_make(text.data + at, text.size - at));
        for (size_t i = at; i < at + size; i++)
            MUST((unsigned char)text.data[i] >= 0x80 || size == 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    if (!nul)
        return 0;
    struct span name = span_make((const char *)data, (size_t)(nul - data));
    struct span text = span_make((const char *)nul + 1, size - name.size - 1);
    const struct encoding *e = encoding_find(name);
    MUST(e);
    MUST(encoding_count(e, text) == walk(e, text));

    struct buffer out = { 0 }, again = { 0 };
    buffer_append_text(&out, "x");
    if (encoding_to_utf8(e, text, &out)) {
        struct span utf8 = span_make(out.data + 1, out.size - 1);
        if (e != encoding_find(span_of("SQL_ASCII"))) {
            MUST(encoding_to_utf8(encoding_utf8(), utf8, &again));
            MUST(span_equal(buffer_span(&again), utf8));
            if (encoding_is_ascii_safe(e))
                check_safe(e, text);
        }
    } else {
        MUST(out.size == 1);
    }
    buffer_free(&out);
    buffer_free(&again);
    return 0;
}
