#include "protocol/scram_text.h"

#include <assert.h>
#include <openssl/evp.h>

#include "protocol/scram.h"

struct scram_text scram_text_open(struct span message)
{
    bool impossible = message.size > SCRAM_MESSAGE_MOST || (message.size > 0 && memchr(message.data, 0, message.size));
    return (struct scram_text){ .rest = message, .failed = impossible };
}

static void drop(struct scram_text *t, size_t size)
{
    assert(size <= t->rest.size);
    t->rest = span_make(t->rest.data + size, t->rest.size - size);
}

static struct span fail(struct scram_text *t)
{
    t->failed = true;
    return (struct span){ 0 };
}

/* How far the name of the next attribute is: past the comma. */
static size_t name_at(const struct scram_text *t)
{
    return t->begun ? 1 : 0;
}

bool scram_text_is_next(const struct scram_text *t, char name)
{
    size_t at = name_at(t);
    if (t->failed || t->rest.size < at + 2 || (t->begun && t->rest.data[0] != ','))
        return false;
    return t->rest.data[at] == name && t->rest.data[at + 1] == '=';
}

struct span scram_text_take(struct scram_text *t, char name)
{
    if (!scram_text_is_next(t, name))
        return fail(t);
    drop(t, name_at(t) + 2);
    t->begun = true;
    const char *comma = t->rest.size > 0 ? memchr(t->rest.data, ',', t->rest.size) : NULL;
    struct span value = span_make(t->rest.data, comma ? (size_t)(comma - t->rest.data) : t->rest.size);
    drop(t, value.size);
    return value;
}

/* A letter that RFC 5802 has not given away. */
static bool is_extension(char name)
{
    bool letter = (name >= 'a' && name <= 'z') || (name >= 'A' && name <= 'Z');
    return letter && memchr("anmrcsipve", name, 10) == NULL;
}

void scram_text_skip_extensions(struct scram_text *t, char until)
{
    while (!t->failed && t->rest.size > 0 && !(until && scram_text_is_next(t, until))) {
        char name = t->rest.size > name_at(t) ? t->rest.data[name_at(t)] : '\0';
        if (!is_extension(name))
            fail(t);
        scram_text_take(t, name);
    }
}

bool scram_text_done(const struct scram_text *t)
{
    return !t->failed && t->rest.size == 0;
}

bool scram_is_nonce(struct span text)
{
    for (size_t i = 0; i < text.size; i++)
        if (text.data[i] < 0x21 || text.data[i] > 0x7e || text.data[i] == ',')
            return false;
    return text.size > 0;
}

/* --- base64 -------------------------------------------------------------------------------------- */

void scram_encode(struct buffer *out, const void *data, size_t size)
{
    assert(size <= SCRAM_MESSAGE_MOST);
    char *room = buffer_reserve(out, (size + 2) / 3 * 4 + 1); /* and a NUL, which we do not keep */
    out->size += (size_t)EVP_EncodeBlock((unsigned char *)room, data, (int)size);
}

static bool is_digit(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/';
}

bool scram_decode(struct span text, unsigned char *to, size_t most, size_t *size)
{
    unsigned char bytes[SCRAM_MESSAGE_MOST];
    size_t digits = 0;
    if (text.size == 0 || text.size % 4 != 0 || text.size > sizeof bytes)
        return false;
    while (digits < text.size && is_digit(text.data[digits]))
        digits++;
    size_t padding = text.size - digits;
    if (padding > 2 || text.data[text.size - 1] != (padding ? '=' : text.data[text.size - 1]) ||
        (padding == 2 && text.data[digits] != '='))
        return false;
    int count = EVP_DecodeBlock(bytes, (const unsigned char *)text.data, (int)text.size);
    if (count < 0 || (size_t)count - padding > most)
        return false;
    *size = (size_t)count - padding;
    memcpy(to, bytes, *size);
    return true;
}
