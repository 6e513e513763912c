/* Client encodings: one table, one small function per way of telling how long a character is.
 *
 * Lengths are those of PostgreSQL's own pg_*_mblen functions, because what is counted here are its error positions: they look
 * at the first byte (in GB18030 the second, too) and believe it. Nothing is verified; the server refuses
 * text that is not well formed before any of this matters to it.
 *
 * Conversion is iconv's. A descriptor is opened per call: it happens for captured payloads of the clients that still use
 * something else than UTF-8, and a cache would be a global. */
#include "protocol/encoding.h"

#include <errno.h>
#include <iconv.h>

struct encoding {
    size_t (*character_size)(const unsigned char *s, size_t size); /* may be more than is there */
    const char *charset;                                           /* for iconv; NULL: cannot be converted; "": is copied */
    bool has_ascii_trail; /* bytes below 0x80 may be the end of a character */
};

/* --- how long a character is --------------------------------------------------------------------- */

static size_t one_byte(const unsigned char *s, size_t size)
{
    (void)s, (void)size;
    return 1;
}

static size_t one_or_two(const unsigned char *s, size_t size)
{
    (void)size;
    return s[0] < 0x80 ? 1 : 2;
}

static size_t utf8(const unsigned char *s, size_t size)
{
    (void)size;
    if (s[0] < 0xC0 || s[0] > 0xF7)
        return 1;
    return s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4;
}

enum { SINGLE_SHIFT_2 = 0x8E, SINGLE_SHIFT_3 = 0x8F };

static size_t euc(const unsigned char *s, size_t size)
{
    return s[0] == SINGLE_SHIFT_3 ? 3 : one_or_two(s, size);
}

static size_t euc_tw(const unsigned char *s, size_t size)
{
    return s[0] == SINGLE_SHIFT_2 ? 4 : euc(s, size);
}

static size_t shift_jis(const unsigned char *s, size_t size)
{
    bool half_width_kana = s[0] >= 0xA1 && s[0] <= 0xDF;
    return half_width_kana ? 1 : one_or_two(s, size);
}

static size_t gb18030(const unsigned char *s, size_t size)
{
    if (s[0] < 0x80)
        return 1;
    return size > 1 && s[1] >= '0' && s[1] <= '9' ? 4 : 2;
}

/* The lead byte names the character set that the rest is from. */
static size_t mule(const unsigned char *s, size_t size)
{
    (void)size;
    if (s[0] >= 0x81 && s[0] <= 0x8D)
        return 2;
    if (s[0] >= 0x90 && s[0] <= 0x9B)
        return 3;
    return s[0] == 0x9C || s[0] == 0x9D ? 4 : 1;
}

/* --- the encodings ------------------------------------------------------------------------------- */

static const struct encoding sql_ascii = { one_byte, "", false };
static const struct encoding utf_8 = { utf8, "", false };

/* Names as encoding_find compares them: letters in lower case and digits. PostgreSQL's own name is the first of its group. */
static const struct {
    const char *name;
    struct encoding encoding;
} table[] = {
    { "eucjp", { euc, "EUC-JP", false } },
    { "euccn", { one_or_two, "EUC-CN", false } },
    { "euckr", { euc, "EUC-KR", false } },
    { "euctw", { euc_tw, "EUC-TW", false } },
    { "eucjis2004", { euc, "EUC-JISX0213", false } },
    { "muleinternal", { mule, NULL, false } },

    { "latin1", { one_byte, "ISO-8859-1", false } },
    { "iso88591", { one_byte, "ISO-8859-1", false } },
    { "latin2", { one_byte, "ISO-8859-2", false } },
    { "iso88592", { one_byte, "ISO-8859-2", false } },
    { "latin3", { one_byte, "ISO-8859-3", false } },
    { "iso88593", { one_byte, "ISO-8859-3", false } },
    { "latin4", { one_byte, "ISO-8859-4", false } },
    { "iso88594", { one_byte, "ISO-8859-4", false } },
    { "latin5", { one_byte, "ISO-8859-9", false } },
    { "iso88599", { one_byte, "ISO-8859-9", false } },
    { "latin6", { one_byte, "ISO-8859-10", false } },
    { "iso885910", { one_byte, "ISO-8859-10", false } },
    { "latin7", { one_byte, "ISO-8859-13", false } },
    { "iso885913", { one_byte, "ISO-8859-13", false } },
    { "latin8", { one_byte, "ISO-8859-14", false } },
    { "iso885914", { one_byte, "ISO-8859-14", false } },
    { "latin9", { one_byte, "ISO-8859-15", false } },
    { "iso885915", { one_byte, "ISO-8859-15", false } },
    { "latin10", { one_byte, "ISO-8859-16", false } },
    { "iso885916", { one_byte, "ISO-8859-16", false } },
    { "iso88595", { one_byte, "ISO-8859-5", false } },
    { "iso88596", { one_byte, "ISO-8859-6", false } },
    { "iso88597", { one_byte, "ISO-8859-7", false } },
    { "iso88598", { one_byte, "ISO-8859-8", false } },

    { "win866", { one_byte, "CP866", false } },
    { "alt", { one_byte, "CP866", false } },
    { "windows866", { one_byte, "CP866", false } },
    { "win874", { one_byte, "CP874", false } },
    { "windows874", { one_byte, "CP874", false } },
    { "win1250", { one_byte, "CP1250", false } },
    { "windows1250", { one_byte, "CP1250", false } },
    { "win1251", { one_byte, "CP1251", false } },
    { "win", { one_byte, "CP1251", false } },
    { "windows1251", { one_byte, "CP1251", false } },
    { "win1252", { one_byte, "CP1252", false } },
    { "windows1252", { one_byte, "CP1252", false } },
    { "win1253", { one_byte, "CP1253", false } },
    { "windows1253", { one_byte, "CP1253", false } },
    { "win1254", { one_byte, "CP1254", false } },
    { "windows1254", { one_byte, "CP1254", false } },
    { "win1255", { one_byte, "CP1255", false } },
    { "windows1255", { one_byte, "CP1255", false } },
    { "win1256", { one_byte, "CP1256", false } },
    { "windows1256", { one_byte, "CP1256", false } },
    { "win1257", { one_byte, "CP1257", false } },
    { "windows1257", { one_byte, "CP1257", false } },
    { "win1258", { one_byte, "CP1258", false } },
    { "windows1258", { one_byte, "CP1258", false } },
    { "abc", { one_byte, "CP1258", false } },
    { "tcvn", { one_byte, "CP1258", false } },
    { "tcvn5712", { one_byte, "CP1258", false } },
    { "vscii", { one_byte, "CP1258", false } },
    { "koi8r", { one_byte, "KOI8-R", false } },
    { "koi8", { one_byte, "KOI8-R", false } },
    { "koi8u", { one_byte, "KOI8-U", false } },

    /* for clients only */
    { "sjis", { shift_jis, "CP932", true } },
    { "shiftjis", { shift_jis, "CP932", true } },
    { "mskanji", { shift_jis, "CP932", true } },
    { "win932", { shift_jis, "CP932", true } },
    { "windows932", { shift_jis, "CP932", true } },
    { "shiftjis2004", { shift_jis, "SHIFT_JISX0213", true } },
    { "big5", { one_or_two, "CP950", true } },
    { "win950", { one_or_two, "CP950", true } },
    { "windows950", { one_or_two, "CP950", true } },
    { "gbk", { one_or_two, "CP936", true } },
    { "win936", { one_or_two, "CP936", true } },
    { "windows936", { one_or_two, "CP936", true } },
    { "uhc", { one_or_two, "CP949", true } },
    { "win949", { one_or_two, "CP949", true } },
    { "windows949", { one_or_two, "CP949", true } },
    { "gb18030", { gb18030, "GB18030", true } },
    { "johab", { euc, "JOHAB", true } },
};

/* Letters and digits of `name` in lower case. False: too long to be an encoding's name. */
static bool clean_name(struct span name, char *out, size_t room)
{
    size_t n = 0;
    for (size_t i = 0; i < name.size; i++) {
        char c = name.data[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        else if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9'))
            continue;
        if (n + 1 == room)
            return false;
        out[n++] = c;
    }
    out[n] = 0;
    return true;
}

const struct encoding *encoding_find(struct span name)
{
    char clean[32];
    if (!clean_name(name, clean, sizeof clean))
        return &sql_ascii;
    if (strcmp(clean, "utf8") == 0 || strcmp(clean, "unicode") == 0)
        return &utf_8;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(clean, table[i].name) == 0)
            return &table[i].encoding;
    return &sql_ascii;
}

const struct encoding *encoding_utf8(void)
{
    return &utf_8;
}

bool encoding_is_ascii_safe(const struct encoding *e)
{
    return !e->has_ascii_trail;
}

/* --- characters ---------------------------------------------------------------------------------- */

size_t encoding_character_size(const struct encoding *e, struct span s)
{
    size_t size = e->character_size((const unsigned char *)s.data, s.size);
    return size < s.size ? size : s.size;
}

size_t encoding_count(const struct encoding *e, struct span s)
{
    size_t count = 0;
    for (size_t at = 0; at < s.size; count++)
        at += encoding_character_size(e, span_make(s.data + at, s.size - at));
    return count;
}

/* --- conversion ---------------------------------------------------------------------------------- */

/* One pass of iconv over what is left of the input; without input it writes what it kept back. */
static bool convert_step(iconv_t cd, char **in, size_t *in_left, struct buffer *out)
{
    for (;;) {
        size_t room = (in ? *in_left : 0) + 16;
        char *to = buffer_reserve(out, room);
        size_t to_left = room;
        size_t failed = iconv(cd, in, in_left, &to, &to_left);
        int error = errno;
        out->size += room - to_left;
        if (failed != (size_t)-1)
            return true;
        if (error != E2BIG)
            return false; /* ill-formed or cut off */
    }
}

bool encoding_to_utf8(const struct encoding *e, struct span s, struct buffer *out)
{
    if (!e->charset)
        return false;
    if (!*e->charset) {
        buffer_append_span(out, s);
        return true;
    }
    iconv_t cd = iconv_open("UTF-8", e->charset);
    if (cd == (iconv_t)-1)
        return false; /* this system's C library lacks it */
    size_t start = out->size;
    char *in = (char *)s.data; /* iconv's prototype; it does not write there */
    size_t in_left = s.size;
    bool converted = s.size == 0 || (convert_step(cd, &in, &in_left, out) && convert_step(cd, NULL, NULL, out));
    iconv_close(cd);
    if (!converted)
        out->size = start;
    return converted;
}
