/* Client encodings: one table, one small function per way of telling how long a character is.
 *
 * Lengths are those of PostgreSQL's own pg_*_mblen functions, because what is counted here are its error positions:
 * they look at the first byte (in GB18030 the second, too) and believe it. Nothing is verified; the server refuses
 * text that is not well formed before any of this matters to it.
 *
 * Conversion is iconv's, a character at a time. That is slow, and right in three places where a whole string is not:
 * a byte below 0x80 stays ASCII (iconv's JOHAB and Shift_JIS 2004 read a backslash as a won or yen sign), Vietnamese
 * accents are not composed, and iconv and PostgreSQL have to agree on where a character ends. A descriptor is opened
 * per call: only captured payloads of clients that use something else than UTF-8 come here, and a cache would be a
 * global. */
#include "protocol/encoding.h"

#include <iconv.h>

struct encoding {
    const char *names; /* as clean_name makes them, PostgreSQL's own first */
    size_t (*character_size)(const unsigned char *s, size_t size); /* may be more than is there */
    const char *charset;  /* iconv's nearest to PostgreSQL's tables; NULL: only its ASCII can be converted */
    bool has_ascii_trail; /* bytes below 0x80 may be the end of a character */
    bool has_pairs;       /* some characters are two code points, the second of them combining */
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

enum { SQL_ASCII, UTF8 }; /* their places in the table */

static const struct encoding encodings[] = {
    [SQL_ASCII] = { "sqlascii", one_byte, NULL, false, false },
    [UTF8] = { "utf8 unicode", utf8, NULL, false, false },

    { "eucjp", euc, "EUC-JP-MS", false, false },
    { "euccn", one_or_two, "EUC-CN", false, false },
    { "euckr", euc, "EUC-KR", false, false },
    { "euctw", euc_tw, "EUC-TW", false, false },
    { "eucjis2004", euc, "EUC-JISX0213", false, true },
    { "muleinternal", mule, NULL, false, false },

    { "latin1 iso88591", one_byte, "ISO-8859-1", false, false },
    { "latin2 iso88592", one_byte, "ISO-8859-2", false, false },
    { "latin3 iso88593", one_byte, "ISO-8859-3", false, false },
    { "latin4 iso88594", one_byte, "ISO-8859-4", false, false },
    { "latin5 iso88599", one_byte, "ISO-8859-9", false, false },
    { "latin6 iso885910", one_byte, "ISO-8859-10", false, false },
    { "latin7 iso885913", one_byte, "ISO-8859-13", false, false },
    { "latin8 iso885914", one_byte, "ISO-8859-14", false, false },
    { "latin9 iso885915", one_byte, "ISO-8859-15", false, false },
    { "latin10 iso885916", one_byte, "ISO-8859-16", false, false },
    { "iso88595", one_byte, "ISO-8859-5", false, false },
    { "iso88596", one_byte, "ISO-8859-6", false, false },
    { "iso88597", one_byte, "ISO-8859-7", false, false },
    { "iso88598", one_byte, "ISO-8859-8", false, false },
    { "win866 alt windows866", one_byte, "CP866", false, false },
    { "win874 windows874", one_byte, "CP874", false, false },
    { "win1250 windows1250", one_byte, "CP1250", false, false },
    { "win1251 win windows1251", one_byte, "CP1251", false, false },
    { "win1252 windows1252", one_byte, "CP1252", false, false },
    { "win1253 windows1253", one_byte, "CP1253", false, false },
    { "win1254 windows1254", one_byte, "CP1254", false, false },
    { "win1255 windows1255", one_byte, "CP1255", false, false },
    { "win1256 windows1256", one_byte, "CP1256", false, false },
    { "win1257 windows1257", one_byte, "CP1257", false, false },
    { "win1258 windows1258 abc tcvn tcvn5712 vscii", one_byte, "CP1258", false, false },
    { "koi8r koi8", one_byte, "KOI8-R", false, false },
    { "koi8u", one_byte, "KOI8-U", false, false },

    /* for clients only */
    { "sjis shiftjis mskanji win932 windows932", shift_jis, "CP932", true, false },
    { "shiftjis2004", shift_jis, "SHIFT_JISX0213", true, true },
    { "big5 win950 windows950", one_or_two, "CP950", true, false },
    { "gbk win936 windows936", one_or_two, "CP936", true, false },
    { "uhc win949 windows949", one_or_two, "CP949", true, false },
    { "gb18030", gb18030, "GB18030", true, false },
    { "johab", euc, "JOHAB", true, false }, /* euc is not how Johab works, but how PostgreSQL reads it */
};

/* Letters and digits of `name` in lower case, as PostgreSQL compares names. False: it cannot be one. */
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
    return n > 0;
}

static bool has_name(const struct encoding *e, const char *name)
{
    size_t size = strlen(name);
    for (const char *p = e->names; (p = strstr(p, name)); p += size)
        if ((p == e->names || p[-1] == ' ') && (p[size] == ' ' || p[size] == 0))
            return true;
    return false;
}

const struct encoding *encoding_find(struct span name)
{
    char clean[32]; /* the longest is half as long */
    if (clean_name(name, clean, sizeof clean))
        for (size_t i = 0; i < sizeof encodings / sizeof *encodings; i++)
            if (has_name(&encodings[i], clean))
                return &encodings[i];
    return &encodings[SQL_ASCII];
}

const struct encoding *encoding_utf8(void)
{
    return &encodings[UTF8];
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

/* The size of the well-formed UTF-8 character at s (RFC 3629: shortest form, no surrogates, up to U+10FFFF), or 0. */
static size_t utf8_checked(const unsigned char *s, size_t left)
{
    size_t size = utf8(s, left);
    if (size == 1)
        return s[0] < 0x80;
    if (size > left)
        return 0;
    unsigned char least = s[0] == 0xE0 ? 0xA0 : s[0] == 0xF0 ? 0x90 : 0x80;
    unsigned char most = s[0] == 0xED ? 0x9F : s[0] == 0xF4 ? 0x8F : 0xBF;
    if (s[0] < 0xC2 || s[0] > 0xF4 || s[1] < least || s[1] > most)
        return 0;
    for (size_t i = 2; i < size; i++)
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    return size;
}

static bool utf8_is_valid(struct span s)
{
    size_t size;
    for (size_t at = 0; at < s.size; at += size) {
        size = utf8_checked((const unsigned char *)s.data + at, s.size - at);
        if (size == 0)
            return false;
    }
    return true;
}

static size_t count_code_points(const char *utf8_text, size_t size)
{
    size_t count = 0;
    for (size_t i = 0; i < size; i++)
        count += ((unsigned char)utf8_text[i] & 0xC0) != 0x80;
    return count;
}

/* One character that is not ASCII. What iconv makes several characters of is none to PostgreSQL. */
static bool convert_character(const struct encoding *e, iconv_t cd, struct span character, struct buffer *out)
{
    char *from = (char *)character.data; /* iconv's prototype; it does not write there */
    size_t from_left = character.size;
    size_t room = 32, to_left = room; /* two code points take 8 */
    char *to = buffer_reserve(out, room);
    if (iconv(cd, &from, &from_left, &to, &to_left) != 0 || from_left > 0)
        return false;
    if (iconv(cd, NULL, NULL, &to, &to_left) != 0) /* what it held back to compose, and the initial state again */
        return false;
    size_t written = room - to_left;
    if (count_code_points(out->data + out->size, written) > (e->has_pairs ? 2 : 1))
        return false;
    out->size += written;
    return true;
}

static bool convert(const struct encoding *e, iconv_t cd, struct span s, struct buffer *out)
{
    for (size_t at = 0; at < s.size;) {
        const unsigned char *p = (const unsigned char *)s.data + at;
        size_t left = s.size - at;
        size_t size = e->character_size(p, left);
        if (*p < 0x80)
            buffer_append_u8(out, *p);
        else if (size > left || !convert_character(e, cd, span_make(s.data + at, size), out))
            return false;
        at += size;
    }
    return true;
}

static bool is_ascii(struct span s)
{
    unsigned char all = 0;
    for (size_t i = 0; i < s.size; i++)
        all |= (unsigned char)s.data[i];
    return all < 0x80;
}

bool encoding_to_utf8(const struct encoding *e, struct span s, struct buffer *out)
{
    if (s.size > 0 && memchr(s.data, 0, s.size))
        return false;
    if (e == &encodings[SQL_ASCII] || is_ascii(s) || (e == &encodings[UTF8] && utf8_is_valid(s))) {
        buffer_append_span(out, s);
        return true;
    }
    if (!e->charset)
        return false;
    iconv_t cd = iconv_open("UTF-8", e->charset);
    if (cd == (iconv_t)-1)
        return false; /* this system's C library lacks it */
    size_t start = out->size;
    bool converted = convert(e, cd, s, out);
    iconv_close(cd);
    if (!converted)
        out->size = start;
    return converted;
}
